"""OpenAI's Responses API: `POST …/responses`, and what fetches, cancels, counts or compacts a response.

Source: OpenAI API reference, "Responses" and "Streaming events"; openai-python `lib/streaming/responses`. A response that
was made in the background is fetched with GET, as a stream with `?stream=true`, and is filtered like any other. There is
no `[DONE]`: `response.completed`, `.incomplete` or `.failed` is the last event, and the client holds it against the first:
the `id` must be the same.

An end by a filter or a limit is `response.incomplete`, with the reason where OpenAI puts it and the message as its error.
Its `output` is empty: the gateway has not kept what went out, and the client has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from kube_gateway.ai.dialect import Asked, Ending, Endpoint, Outcome, Reply
from kube_gateway.ai.dialects import _openai, _wire
from kube_gateway.ai.dialects._openai_responses_shapes import OTHER_REQUEST, REQUEST, RESPONSE, STREAM
from kube_gateway.ai.shape import RequestShape, ResponseShape

_RESPONSES = "/responses"
_ID = "resp_[^/?]+"
_ONE = f"{_RESPONSES}/{_ID}"

CREATE = Endpoint(
    name="responses",
    operation="chat",
    method="POST",
    pattern=_RESPONSES,
    request=REQUEST,
    response=RESPONSE,
    stream=STREAM,
)


def _other(name: str, *, pattern: str, method: str = "POST", request: RequestShape | None = None) -> Endpoint:
    return msgspec.structs.replace(
        CREATE,
        name=name,
        pattern=pattern,
        method=method,
        request=request or RequestShape(),
        stream=None,
        streams="never",
    )


class OpenAIResponses(_openai.OpenAI):
    """Responses."""

    name = "openai_responses"
    endpoints = (
        CREATE,
        msgspec.structs.replace(
            CREATE, name="responses_get", method="GET", pattern=_ONE, request=RequestShape(), streams="by_query"
        ),
        _other("responses_cancel", pattern=_ONE + "/cancel"),
        _other("responses_compact", pattern=_RESPONSES + "/compact", request=OTHER_REQUEST),
        msgspec.structs.replace(
            _other("responses_input_tokens", pattern=_RESPONSES + "/input_tokens", request=OTHER_REQUEST),
            operation="count_tokens",
            response=ResponseShape(error=_openai.FAILED),
        ),
    )

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return a response with one message that says `text`."""
        if asked.endpoint.operation != "chat":
            return self.error(asked, status=403, reason="blocked", message=text)
        head = _head(asked, identity=_asked_for(asked) or _wire.identifier("resp_"), created=_wire.now())
        if asked.streaming:
            return _wire.streamed(_numbered(_say(head, text=text), first=0))
        return _wire.whole(_completed(head, item=_message(text)))

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return `response.incomplete`."""
        identity = outcome.captured.get("id") or _asked_for(asked)
        created = _wire.number(outcome.captured.get("created"), otherwise=_wire.now())
        head = _head(asked, identity=identity or _wire.identifier("resp_"), created=created)
        limited = reason == "length"
        response = {
            **head,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens" if limited else "content_filter"},
            "error": None if limited or not message else {"code": f"kube_gateway_{reason}", "message": message},
            "usage": _usage(outcome.usage) if outcome.usage else None,
        }
        events: list[_Event] = [("response.incomplete", {"response": response})]
        if identity is None:
            events.insert(0, ("response.created", {"response": head}))
        first = 0 if outcome.sequence is None else outcome.sequence + 1
        return b"".join(_numbered(events, first=first))


def _asked_for(asked: Asked) -> str | None:
    """Return the id of the response that a request fetches; its stream may begin after `response.created`."""
    found = re.search(f"{_RESPONSES}/({_ID})", asked.target)
    return found[1] if found else None


_Event = tuple[str, dict[str, object]]


def _numbered(events: Iterator[_Event] | list[_Event], *, first: int) -> Iterator[bytes]:
    for number, (kind, content) in enumerate(events, first):
        yield _wire.event({"type": kind, **content, "sequence_number": number}, name=kind)


def _head(asked: Asked, *, identity: str, created: int) -> dict[str, object]:
    return {
        "id": identity,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": asked.model,
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def _usage(usage: Mapping[str, int]) -> dict[str, object]:
    given, made = usage.get("input", 0), usage.get("output", 0)
    return {
        "input_tokens": given,
        "input_tokens_details": {"cached_tokens": usage.get("cached_input", 0)},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": usage.get("reasoning", 0)},
        "total_tokens": given + made,
    }


def _message(text: str, *, identity: str | None = None) -> dict[str, object]:
    return {
        "id": identity or _wire.identifier("msg_"),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [_part(text)],
    }


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _completed(head: Mapping[str, object], *, item: Mapping[str, object]) -> dict[str, object]:
    return {**head, "status": "completed", "output": [item], "usage": _usage({})}


def _say(head: Mapping[str, object], *, text: str) -> Iterator[_Event]:
    """Return the events of a stream that says `text`, without their numbers."""
    item = _message(text)
    begun = {**item, "status": "in_progress", "content": []}
    place: dict[str, object] = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    yield "response.created", {"response": head}
    yield "response.in_progress", {"response": head}
    yield "response.output_item.added", {"output_index": 0, "item": begun}
    yield "response.content_part.added", {**place, "part": _part("")}
    yield "response.output_text.delta", {**place, "delta": text, "logprobs": []}
    yield "response.output_text.done", {**place, "text": text, "logprobs": []}
    yield "response.content_part.done", {**place, "part": _part(text)}
    yield "response.output_item.done", {"output_index": 0, "item": item}
    yield "response.completed", {"response": _completed(head, item=item)}


DIALECT = OpenAIResponses()
