"""Anthropic's Messages API: `POST …/v1/messages`, the count of its tokens, and the same on Vertex AI.

Source: Anthropic API reference, "Create a Message", "Streaming Messages", "Errors"; anthropic-sdk-python `_streaming.py`
and `lib/streaming/_messages.py`. The client goes by the names of the events, and adds them up: a block must have begun to
be ended. A stream holds one block at a time.

An end by a filter has the stop reason `refusal`, and the message as its explanation. The Messages API of a thread of
OpenAI's assistants ends with `/messages` too, so that the version before it is part of the pattern.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from kube_gateway.ai.dialect import Asked, Ending, Endpoint, Outcome, Reason, Reply, Totals
from kube_gateway.ai.dialects import _wire
from kube_gateway.ai.dialects._anthropic_shapes import BATCH_REQUEST, COUNT_REQUEST, FAILED, REQUEST, RESPONSE, STREAM
from kube_gateway.ai.shape import RequestShape, ResponseShape

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

MESSAGES = Endpoint(
    name="messages",
    operation="chat",
    method="POST",
    pattern="/v1/messages",
    request=REQUEST,
    response=RESPONSE,
    stream=STREAM,
)


def _batch(name: str, *, pattern: str, method: str = "POST", request: RequestShape | None = None) -> Endpoint:
    return Endpoint(
        name=name,
        operation="batch",
        method=method,
        pattern=pattern,
        request=request or RequestShape(),
        response=ResponseShape(error=FAILED),
        streams="never",
    )


class Anthropic:
    """Messages."""

    name = "anthropic"
    provider = "anthropic"
    endpoints = (
        MESSAGES,
        msgspec.structs.replace(
            MESSAGES,
            name="count_tokens",
            operation="count_tokens",
            pattern="/v1/messages/count_tokens",
            request=COUNT_REQUEST,
            response=ResponseShape(error=FAILED),
            stream=None,
            streams="never",
        ),
        _batch("batches", pattern="/v1/messages/batches", request=BATCH_REQUEST),
        _batch("batch_results", method="GET", pattern="/v1/messages/batches/[^/]+/results"),
        msgspec.structs.replace(
            MESSAGES,
            name="messages_vertex",
            pattern="/publishers/anthropic/models/(?P<model>[^/:]+):(?:streamR|r)awPredict",
            request=msgspec.structs.replace(REQUEST, model_in_target=True),
        ),
    )

    def error(
        self, asked: Asked, *, status: int, reason: Reason, message: str, retry_after: int | None = None
    ) -> Reply:
        """Return an error object, with the reason as the code of its details."""
        del asked
        error = {
            "type": _TYPES.get(status, "api_error"),
            "message": message,
            "details": {"error_code": f"kube_gateway_{reason}"},
        }
        value = {"type": "error", "error": error, "request_id": _wire.identifier("req_")}
        return _wire.refused(value, status=status, retry_after=retry_after)

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return a message with one block that says `text`."""
        if asked.endpoint.operation != "chat":
            return self.error(asked, status=403, reason="blocked", message=text)
        message = _message(asked, identity=_wire.identifier("msg_"))
        if asked.streaming:
            return _wire.streamed(_say(message, text=text))
        return _wire.whole({**message, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn"})

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return the end of the open block and of the message."""
        events = []
        if "id" not in outcome.captured:
            begun = _message(asked, identity=_wire.identifier("msg_"))
            events.append(_event("message_start", {"message": begun}))
        block = outcome.captured.get("block", "")
        if block.isdecimal() and (block,) not in outcome.ended_keys:
            events.append(_event("content_block_stop", {"index": int(block)}))
        delta: dict[str, object] = {"stop_reason": "max_tokens", "stop_sequence": None}
        if reason != "length":
            details = {"type": "refusal", "category": None, "explanation": message or None}
            delta.update(stop_reason="refusal", stop_details=details)
        events.append(_event("message_delta", {"delta": delta, "usage": {"output_tokens": _made(outcome)}}))
        return b"".join([*events, _event("message_stop", {})])

    def totals(self, usage: Mapping[str, int]) -> Totals:
        """Return the totals: tokens read from and written to the cache are beside those of the input."""
        given = sum(usage.get(kind, 0) for kind in ("input", "cached_input", "cache_creation_input"))
        return Totals(input=given, output=usage.get("output", 0))


def _made(outcome: Outcome) -> int:
    """Return the tokens of the output: the server tells them at the start and at the end only, so by four characters."""
    characters = sum(outcome.characters.get(lane, 0) for lane in ("output", "reasoning", "tool_arguments"))
    return max(outcome.usage.get("output", 0), -(-characters // 4))


def _event(kind: str, content: Mapping[str, object]) -> bytes:
    return _wire.event({"type": kind, **content}, name=kind)


def _message(asked: Asked, *, identity: str) -> dict[str, object]:
    return {
        "id": identity,
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _say(message: Mapping[str, object], *, text: str) -> Iterator[bytes]:
    """Return the events of a stream that says `text`."""
    yield _event("message_start", {"message": message})
    yield _event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    yield _event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})
    yield _event("content_block_stop", {"index": 0})
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event("message_delta", {"delta": end, "usage": {"output_tokens": 0}})
    yield _event("message_stop", {})


DIALECT = Anthropic()
