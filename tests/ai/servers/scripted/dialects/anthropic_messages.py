"""Messages of Anthropic, as api.anthropic.com sends them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import msgspec

from ai.servers.scripted.frames import sse
from ai.servers.scripted.script import Asked, Script


def whole(script: Script, asked: Asked) -> dict:
    output = len(script.text) + len(script.reasoning) + len(script.calls)
    return {
        **_head(asked),
        "content": _blocks(script),
        "stop_reason": _stop(script),
        "usage": {"input_tokens": 11, "output_tokens": output},
    }


def events(script: Script, asked: Asked) -> Iterator[bytes]:
    def event(kind: str, **content: object) -> bytes:
        return sse({"type": kind, **content}, name=kind)

    yield event(
        "message_start", message={**_head(asked), "content": [], "usage": {"input_tokens": 11, "output_tokens": 1}}
    )
    for index, block in enumerate(_blocks(script)):
        empty, deltas = _pieces(script, block)
        yield event("content_block_start", index=index, content_block=empty)
        if index == 0:
            yield event("ping")
        for delta in deltas:
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    output = len(script.text) + len(script.reasoning) + len(script.calls)
    yield event(
        "message_delta", delta={"stop_reason": _stop(script), "stop_sequence": None}, usage={"output_tokens": output}
    )
    yield event("message_stop")


def error(status: int, message: str) -> dict:
    kinds = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        429: "rate_limit_error",
    }
    return {
        "type": "error",
        "error": {"type": kinds.get(status, "api_error"), "message": message},
        "request_id": "req_1",
    }


def _head(asked: Asked) -> dict:
    return {
        "id": "msg_01Scripted",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "stop_reason": None,
        "stop_sequence": None,
    }


def _blocks(script: Script) -> list[dict]:
    blocks: list[dict] = []
    if script.reasoning:
        blocks.append({"type": "thinking", "thinking": "".join(script.reasoning), "signature": "c2lnbmVk"})
    if script.text:
        blocks.append({"type": "text", "text": "".join(script.text)})
    for call in script.calls:
        given = msgspec.json.decode("".join(call.arguments))
        blocks.append({"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": given})
    return blocks


def _pieces(script: Script, block: dict) -> tuple[dict, Iterator[dict]]:
    """A block as it begins, and what is added to it."""
    if block["type"] == "thinking":
        signed = {"type": "signature_delta", "signature": block["signature"]}
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in script.reasoning]
        return {**block, "thinking": "", "signature": ""}, iter([*thoughts, signed])
    if block["type"] == "text":
        text = cycle(script.text) if script.endless else script.text
        return {**block, "text": ""}, ({"type": "text_delta", "text": piece} for piece in text)
    call = next(call for call in script.calls if f"toolu_{call.id}" == block["id"])
    return {**block, "input": {}}, ({"type": "input_json_delta", "partial_json": piece} for piece in call.arguments)


def _stop(script: Script) -> str:
    return "tool_use" if script.calls else "end_turn"
