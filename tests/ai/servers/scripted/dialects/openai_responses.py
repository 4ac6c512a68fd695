"""Responses of OpenAI, as api.openai.com sends them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

from ai.servers.scripted.dialects import openai_chat
from ai.servers.scripted.frames import sse
from ai.servers.scripted.script import Asked, Script

error = openai_chat.error


def whole(script: Script, asked: Asked) -> dict:
    return _response(script, asked, status="completed")


def events(script: Script, asked: Asked) -> Iterator[bytes]:
    for number, (kind, content) in enumerate(_events(script, asked)):
        yield sse({"type": kind, **content, "sequence_number": number}, name=kind)


def _events(script: Script, asked: Asked) -> Iterator[tuple[str, dict]]:
    begun = {"response": _response(script, asked, status="in_progress")}
    yield "response.created", begun
    yield "response.in_progress", begun
    for index, item in enumerate(_output(script)):
        at = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            yield (
                "response.output_item.added",
                {"output_index": index, "item": {**item, "status": "in_progress", "content": []}},
            )
            yield from _text(script, at, item["content"][0])
        else:
            yield "response.output_item.added", {"output_index": index, "item": {**item, "arguments": ""}}
            for piece in script.calls[index - bool(script.text)].arguments:
                yield "response.function_call_arguments.delta", {**at, "delta": piece}
            yield "response.function_call_arguments.done", {**at, "arguments": item["arguments"]}
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield "response.completed", {"response": _response(script, asked, status="completed")}


def _text(script: Script, item: dict, part: dict) -> Iterator[tuple[str, dict]]:
    at = {**item, "content_index": 0}
    yield "response.content_part.added", {**at, "part": {**part, "text": ""}}
    for piece in cycle(script.text) if script.endless else script.text:
        yield "response.output_text.delta", {**at, "delta": piece, "logprobs": []}
    yield "response.output_text.done", {**at, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**at, "part": part}


def _output(script: Script) -> list[dict]:
    output: list[dict] = []
    if script.text:
        part = {"type": "output_text", "text": "".join(script.text), "annotations": [], "logprobs": []}
        output.append(
            {"id": "msg_0a1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        )
    for number, call in enumerate(script.calls):
        output.append(
            {
                "id": f"fc_{number}",
                "type": "function_call",
                "status": "completed",
                "call_id": call.id,
                "name": call.name,
                "arguments": "".join(call.arguments),
            }
        )
    return output


def _response(script: Script, asked: Asked, *, status: str) -> dict:
    done = status == "completed"
    tokens = openai_chat.usage(script)
    usage = {
        "input_tokens": tokens["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens["total_tokens"],
    }
    return {
        "id": "resp_51c0",
        "object": "response",
        "created_at": 1767225600,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": asked.model,
        "output": _output(script) if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if done else None,
    }
