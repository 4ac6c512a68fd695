"""OpenAI's legacy completions: `POST …/completions`, text in and text out, and the same as an Azure deployment.

Source: OpenAI API reference, "Create completion" and "The completion object". The prompt may be token ids instead of text,
which no rule for text can read. There is no place for a message in the end of a stream.
"""

from __future__ import annotations

import msgspec

from kube_gateway.ai.dialect import Asked, Ending, Endpoint, Outcome, Reply
from kube_gateway.ai.dialects import _openai, _wire
from kube_gateway.ai.shape import End, Lane, RequestShape, ResponseShape, When

REQUEST = RequestShape(
    lanes=(
        Lane(name="user", path="prompt"),
        Lane(name="user", path="prompt[]"),
        Lane(name="user", path="suffix"),
    ),
    model="model",
    stream="stream",
    limits=("max_tokens",),
    usage_option=("stream_options", "include_usage"),
    choices=("n",),
    best_of=("best_of",),
    prompts="prompt",
    token_ids=("prompt[]", "prompt[][]"),
)

RESPONSE = ResponseShape(
    lanes=(Lane(name="output", path="choices[].text"), Lane(name="reasoning", path="choices[].reasoning")),
    model=("model",),
    usage=_openai.USAGE,
    finish=("choices[].finish_reason",),
    captured={"id": "id", "created": "created"},
    scrub=("choices[].logprobs", "choices[].token_ids"),
    error=_openai.FAILED,
)

_CHOICE = ("choices[].index",)

STREAM = msgspec.structs.replace(
    RESPONSE,
    lanes=tuple(msgspec.structs.replace(lane, key=_CHOICE) for lane in RESPONSE.lanes),
    ends=(End(when=(When(path="choices[].finish_reason"),), key=_CHOICE),),
    usage_event=_openai.USAGE_EVENT,
    usage_members=("usage",),
    once=("choices[]", "usage"),
    last="[DONE]",
)

COMPLETIONS = Endpoint(
    name="completions",
    operation="text_completion",
    method="POST",
    pattern="/completions",
    request=REQUEST,
    response=RESPONSE,
    stream=STREAM,
)


class OpenAICompletions(_openai.OpenAI):
    """Legacy completions."""

    name = "openai_completions"
    endpoints = _openai.with_deployment(COMPLETIONS)

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return a completion whose choices all are `text`."""
        head = _head(asked, identity=_wire.identifier("cmpl-"), created=_wire.now())
        if not asked.streaming:
            choices = [_choice(index, text=text, finish="stop") for index in _wire.choices(asked)]
            return _wire.whole({**head, "choices": choices, "usage": _openai.no_usage()})
        chunks = [
            _chunk(asked, head=head, choice=choice)
            for index in _wire.choices(asked)
            for choice in (_choice(index, text=text, finish=None), _choice(index, text="", finish="stop"))
        ]
        if asked.wants_usage:
            chunks.append(_wire.event({**head, "choices": [], "usage": _openai.no_usage()}))
        return _wire.streamed([*chunks, _openai.DONE])

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return the end of all choices that have none yet, the usage where it was asked for and is known, and the end."""
        del message
        identity = outcome.captured.get("id") or _wire.identifier("cmpl-")
        created = _wire.number(outcome.captured.get("created"), otherwise=_wire.now())
        head = _head(asked, identity=identity, created=created)
        finish = "length" if reason == "length" else "content_filter"
        chunks = [
            _chunk(asked, head=head, choice=_choice(index, text="", finish=finish))
            for index in _openai.unfinished(asked, outcome)
        ]
        return _openai.ended(chunks, asked=asked, outcome=outcome, head=head)


def _head(asked: Asked, *, identity: str, created: int) -> dict[str, object]:
    return {"id": identity, "object": "text_completion", "created": created, "model": asked.model}


def _choice(index: int, *, text: str, finish: str | None) -> dict[str, object]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _chunk(asked: Asked, *, head: dict[str, object], choice: dict[str, object]) -> bytes:
    usage: dict[str, object] = {"usage": None} if asked.wants_usage else {}
    return _wire.event({**head, "choices": [choice], **usage})


DIALECT = OpenAICompletions()
