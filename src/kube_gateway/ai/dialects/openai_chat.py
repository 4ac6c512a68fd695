"""OpenAI chat completions: `POST …/chat/completions`, and the same as an Azure deployment.

Source: OpenAI API reference, "Create chat completion" and "The chat completion chunk object"; Azure OpenAI REST API
reference, "Chat completions". Vendors send thoughts as `reasoning_content` (DeepSeek, vLLM), as `reasoning` (OpenRouter,
Ollama) or as parts of the content (Mistral).

Chats that were stored are fetched with GET, below a version or below `/openai`, as other sites may have such paths.

An end by a filter says so twice: `finish_reason` is `content_filter`, and the message is the choice's refusal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kube_gateway.ai.dialect import Asked, Ending, Endpoint, Outcome, Reply
from kube_gateway.ai.dialects import _openai, _wire
from kube_gateway.ai.dialects._openai_chat_shapes import LIST, REQUEST, RESPONSE, STREAM
from kube_gateway.ai.shape import RequestShape, ResponseShape

CHAT = Endpoint(
    name="chat_completions",
    operation="chat",
    method="POST",
    pattern="/chat/completions",
    request=REQUEST,
    response=RESPONSE,
    stream=STREAM,
)

_STORED = "/(?:v[0-9]+|openai)/chat/completions"


def _stored(name: str, *, pattern: str, response: ResponseShape) -> Endpoint:
    """Return what fetches chats that were made before and kept."""
    return Endpoint(
        name=name,
        operation="stored",
        method="GET",
        pattern=pattern,
        request=RequestShape(),
        response=response,
        streams="never",
    )


class OpenAIChat(_openai.OpenAI):
    """Chat completions."""

    name = "openai_chat"
    endpoints = (
        *_openai.with_deployment(CHAT),
        _stored("chat_completions_list", pattern=_STORED, response=LIST),
        _stored("chat_completions_get", pattern=_STORED + "/[^/]+", response=RESPONSE),
        _stored(
            "chat_completions_messages",
            pattern=_STORED + "/[^/]+/messages",
            response=ResponseShape(error=_openai.FAILED),
        ),
    )

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return a completion whose choices all say `text`; the message of an error where none was asked for."""
        if asked.endpoint.operation != "chat":
            return self.error(asked, status=403, reason="blocked", message=text)
        head = _head(asked, identity=_wire.identifier("chatcmpl-"), created=_wire.now())
        if asked.streaming:
            return _wire.streamed(_say(asked, head=head, text=text))
        message = {"role": "assistant", "content": text, "refusal": None}
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
            for index in _wire.choices(asked)
        ]
        return _wire.whole({**head, "object": "chat.completion", "choices": choices, "usage": _openai.no_usage()})

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return the end of all choices that have none yet, the usage where it was asked for and is known, and the end."""
        identity = outcome.captured.get("id") or _wire.identifier("chatcmpl-")
        created = _wire.number(outcome.captured.get("created"), otherwise=_wire.now())
        head = _head(asked, identity=identity, created=created)
        delta = {} if reason == "length" or not message else {"refusal": message}
        finish = "length" if reason == "length" else "content_filter"
        chunks = [
            _chunk(asked, head=head, index=index, delta=delta, finish=finish)
            for index in _openai.unfinished(asked, outcome)
        ]
        return _openai.ended(chunks, asked=asked, outcome=outcome, head=head)


def _head(asked: Asked, *, identity: str, created: int) -> dict[str, object]:
    return {"id": identity, "object": "chat.completion.chunk", "created": created, "model": asked.model}


def _say(asked: Asked, *, head: Mapping[str, object], text: str) -> Iterator[bytes]:
    """Return the events of a stream in which each choice says `text`."""
    for index in _wire.choices(asked):
        begin = {"role": "assistant", "content": "", "refusal": None}
        yield _chunk(asked, head=head, index=index, delta=begin, finish=None)
        yield _chunk(asked, head=head, index=index, delta={"content": text}, finish=None)
        yield _chunk(asked, head=head, index=index, delta={}, finish="stop")
    if asked.wants_usage:
        yield _wire.event({**head, "choices": [], "usage": _openai.no_usage()})
    yield _openai.DONE


def _chunk(
    asked: Asked, *, head: Mapping[str, object], index: int, delta: Mapping[str, object], finish: str | None
) -> bytes:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk: dict[str, object] = {**head, "choices": [choice]}
    if asked.wants_usage:
        chunk["usage"] = None
    return _wire.event(chunk)


DIALECT = OpenAIChat()
