"""Chat completions and completions of OpenAI, as api.openai.com and vLLM send them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from ai.servers.scripted.frames import sse
from ai.servers.scripted.script import Asked, Script

DONE = b"data: [DONE]\n\n"


def usage(script: Script) -> dict:
    output = len(script.text) + len(script.reasoning) + len(script.calls)
    return {"prompt_tokens": 11, "completion_tokens": output, "total_tokens": 11 + output}


def whole(script: Script, asked: Asked) -> dict:
    message: dict = {"role": "assistant", "content": "".join(script.text) or None, "refusal": None}
    if script.reasoning:
        message["reasoning_content"] = "".join(script.reasoning)
    if script.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": "".join(call.arguments)}}
            for call in script.calls
        ]
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(script)}
        for index in range(asked.choices)
    ]
    return {**_head("chat.completion", asked), "choices": choices, "usage": usage(script)}


def events(script: Script, asked: Asked) -> Iterator[bytes]:
    def event(index: int, delta: dict, finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        extra = {"usage": None} if asked.usage else {}
        return sse({**_head("chat.completion.chunk", asked), "choices": [choice], **extra})

    every = range(asked.choices)
    yield from (event(index, {"role": "assistant", "content": "", "refusal": None}) for index in every)
    yield from (event(index, {"reasoning_content": piece}) for piece in script.reasoning for index in every)
    text = cycle(script.text) if script.endless else script.text
    yield from (event(index, {"content": piece}) for piece in text for index in every)
    for number, call in enumerate(script.calls):
        named = {"index": number, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield from (event(index, {"tool_calls": [named]}) for index in every)
        for piece in call.arguments:
            more = {"index": number, "function": {"arguments": piece}}
            yield from (event(index, {"tool_calls": [more]}) for index in every)
    yield from (event(index, {}, _finish(script)) for index in every)
    if asked.usage:
        yield sse({**_head("chat.completion.chunk", asked), "choices": [], "usage": usage(script)})
    yield DONE


def error(status: int, message: str) -> dict:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": str(status)}}


def _head(kind: str, asked: Asked) -> dict:
    return {
        "id": "chatcmpl-7Qx0",
        "object": kind,
        "created": 1767225600,
        "model": asked.model,
        "service_tier": "default",
        "system_fingerprint": "fp_scripted",
    }


def _finish(script: Script) -> str:
    return "tool_calls" if script.calls else "stop"
