"""chat of Ollama. The real one is there too: this is for slow, dying and reasoning answers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import msgspec

from ai.servers.scripted.script import Asked, Script


def whole(script: Script, asked: Asked) -> dict:
    message: dict = {"role": "assistant", "content": "".join(script.text)}
    if script.reasoning:
        message["thinking"] = "".join(script.reasoning)
    return {**_head(asked), "message": {**message, **_calls(script)}, **_end(script)}


def events(script: Script, asked: Asked) -> Iterator[bytes]:
    for piece in script.reasoning:
        yield _line({**_head(asked), "message": {"role": "assistant", "content": "", "thinking": piece}, "done": False})
    for piece in cycle(script.text) if script.endless else script.text:
        yield _line({**_head(asked), "message": {"role": "assistant", "content": piece}, "done": False})
    if script.calls:
        yield _line({**_head(asked), "message": {"role": "assistant", "content": "", **_calls(script)}, "done": False})
    yield _line({**_head(asked), "message": {"role": "assistant", "content": ""}, **_end(script)})


def error(_status: int, message: str) -> dict:
    return {"error": message}


def _head(asked: Asked) -> dict:
    return {"model": asked.model, "created_at": "2026-01-01T00:00:00.000000001Z"}


def _end(script: Script) -> dict:
    output = len(script.text) + len(script.reasoning) + len(script.calls)
    counts = {"prompt_eval_count": 11, "prompt_eval_duration": 2000000, "eval_count": output, "eval_duration": 8000000}
    return {"done_reason": "stop", "done": True, "total_duration": 12000000, "load_duration": 1000000, **counts}


def _calls(script: Script) -> dict:
    calls = [
        {"function": {"name": call.name, "arguments": msgspec.json.decode("".join(call.arguments))}}
        for call in script.calls
    ]
    return {"tool_calls": calls} if calls else {}


def _line(value: dict) -> bytes:
    return msgspec.json.encode(value) + b"\n"
