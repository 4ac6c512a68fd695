"""generateContent of Gemini, as generativelanguage.googleapis.com sends it: server-sent events, or one array."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import msgspec

from ai.servers.scripted.frames import sse
from ai.servers.scripted.script import Asked, Script


def whole(script: Script, asked: Asked) -> dict:
    parts = _thoughts(script.reasoning) + [{"text": "".join(script.text)}] * bool(script.text) + _calls(script)
    return _answer(script, asked, parts, finish="STOP")


def objects(script: Script, asked: Asked) -> Iterator[dict]:
    for piece in script.reasoning:
        yield _answer(script, asked, _thoughts([piece]))
    for piece in cycle(script.text) if script.endless else script.text:
        yield _answer(script, asked, [{"text": piece}])
    yield _answer(script, asked, _calls(script) or [{"text": ""}], finish="STOP")


def events(script: Script, asked: Asked) -> Iterator[bytes]:
    return map(sse, objects(script, asked))


def array(script: Script, asked: Asked) -> Iterator[bytes]:
    """What is sent without alt=sse."""
    for number, value in enumerate(objects(script, asked)):
        yield (b",\r\n" if number else b"[") + msgspec.json.encode(value)
    yield b"]"


def error(status: int, message: str) -> dict:
    names = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
    return {"error": {"code": status, "message": message, "status": names.get(status, "INTERNAL")}}


def _answer(script: Script, asked: Asked, parts: list[dict], *, finish: str | None = None) -> dict:
    output = len(script.text) + len(script.calls)
    ended = {"finishReason": finish} if finish else {}
    candidates = [
        {"content": {"parts": parts, "role": "model"}, **ended, "index": each} for each in range(asked.choices)
    ]
    usage = {"promptTokenCount": 11, "candidatesTokenCount": output, "totalTokenCount": 11 + output}
    return {
        "candidates": candidates,
        "usageMetadata": usage,
        "modelVersion": asked.model,
        "responseId": "kZ3scripted",
    }


def _thoughts(pieces: object) -> list[dict]:
    return [{"text": piece, "thought": True} for piece in pieces]


def _calls(script: Script) -> list[dict]:
    return [
        {"functionCall": {"id": call.id, "name": call.name, "args": msgspec.json.decode("".join(call.arguments))}}
        for call in script.calls
    ]
