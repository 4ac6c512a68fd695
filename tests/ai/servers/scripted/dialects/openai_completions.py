"""The older completions of OpenAI, as vLLM sends them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from ai.servers.scripted.dialects import openai_chat
from ai.servers.scripted.frames import sse
from ai.servers.scripted.script import Asked, Script

error = openai_chat.error


def whole(script: Script, asked: Asked) -> dict:
    choices = [_choice(index, "".join(script.text), "stop") for index in range(asked.choices)]
    return {**_head(asked), "choices": choices, "usage": openai_chat.usage(script)}


def events(script: Script, asked: Asked) -> Iterator[bytes]:
    every = range(asked.choices)
    for piece in cycle(script.text) if script.endless else script.text:
        yield from (sse({**_head(asked), "choices": [_choice(index, piece, None)]}) for index in every)
    yield from (sse({**_head(asked), "choices": [_choice(index, "", "stop")]}) for index in every)
    if asked.usage:
        yield sse({**_head(asked), "choices": [], "usage": openai_chat.usage(script)})
    yield openai_chat.DONE


def _head(asked: Asked) -> dict:
    return {"id": "cmpl-3kP", "object": "text_completion", "created": 1767225600, "model": asked.model}


def _choice(index: int, text: str, finish: str | None) -> dict:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
