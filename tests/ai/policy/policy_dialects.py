"""A request and an answer in each API, as small as they can be: the same words everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

TOOL_SCHEMA = {"type": "object", "properties": {}}


def sse(*events: object, names: bool = False, done: bool = False) -> bytes:
    out = b""
    for event in events:
        if names:
            out += f"event: {event['type']}\n".encode()
        out += b"data: " + json.dumps(event).encode() + b"\n\n"
    return out + (b"data: [DONE]\n\n" if done else b"")


def lines(*events: object) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


@dataclass(frozen=True)
class Api:
    """`request(text, tool)` asks, `whole(text)` answers, `pieces(texts)` streams an answer; `call(tool, arguments)` is an
    answer too."""

    target: str
    request: Callable[[str, str], dict]
    whole: Callable[[str], dict]
    pieces: Callable[[list[str]], bytes]
    call: Callable[[str, dict], dict]
    limit: Callable[[dict], object]
    kind: str = "text/event-stream"
    model: str = "gpt-4"
    stream: dict | None = None
    stream_target: str | None = None
    renamed_target: str | None = None


def _chat(text: str, tool: str) -> dict:
    return {
        "model": "gpt-4",
        "messages": [{"role": "user", "content": text}],
        "tools": [{"type": "function", "function": {"name": tool, "parameters": TOOL_SCHEMA}}],
    }


def _chat_pieces(texts: list[str]) -> bytes:
    chunks = [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    chunks += [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
    chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    return sse(*({"id": "c", "model": "other", "choices": [chunk]} for chunk in chunks), done=True)


def _chat_call(tool: str, arguments: dict) -> dict:
    call = {"id": "1", "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": None, "tool_calls": [call]},
        "finish_reason": "stop",
    }
    return {"id": "c", "model": "other", "choices": [choice]}


def _response(text: str) -> dict:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return {"id": "r", "object": "response", "status": "completed", "model": "other", "output": [message]}


def _response_pieces(texts: list[str]) -> bytes:
    place = {"item_id": "m", "output_index": 0, "content_index": 0}
    whole = "".join(texts)
    part = {"type": "output_text", "text": whole}
    events = [
        {"type": "response.created", "response": {"id": "r", "model": "other", "output": []}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"id": "m", "type": "message", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {"type": "output_text", "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": text} for text in texts),
        {"type": "response.output_text.done", **place, "text": whole},
        {"type": "response.content_part.done", **place, "part": part},
        {
            "type": "response.output_item.done",
            "output_index": 0,
            "item": {"id": "m", "type": "message", "role": "assistant", "content": [part]},
        },
        {"type": "response.completed", "response": _response(whole)},
    ]
    return sse(*({**event, "sequence_number": number} for number, event in enumerate(events)), names=True)


def _messages_pieces(texts: list[str]) -> bytes:
    start = {"id": "m", "type": "message", "role": "assistant", "model": "other", "content": [], "usage": {}}
    return sse(
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
        names=True,
    )


def _message(*content: dict) -> dict:
    return {"id": "m", "type": "message", "role": "assistant", "model": "other", "content": list(content)}


def _candidate(*parts: dict) -> dict:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "modelVersion": "other"}


def _gemini_pieces(texts: list[str]) -> bytes:
    events = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}], "modelVersion": "other"}
        for text in texts
    ]
    return sse(*events, _candidate({"text": ""}))


def _ollama(message: dict, *, done: bool) -> dict:
    return {"model": "other", "message": {"role": "assistant", **message}, "done": done}


APIS = {
    "openai_chat": Api(
        target="/v1/chat/completions",
        request=_chat,
        whole=lambda text: {
            "id": "c",
            "model": "other",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        },
        pieces=_chat_pieces,
        call=_chat_call,
        limit=lambda body: body["max_tokens"],
        stream={"stream": True},
    ),
    "openai_responses": Api(
        target="/v1/responses",
        request=lambda text, tool: {
            "model": "gpt-4",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}],
            "tools": [{"type": "function", "name": tool, "parameters": TOOL_SCHEMA}],
        },
        whole=_response,
        pieces=_response_pieces,
        call=lambda tool, arguments: {
            **_response(""),
            "output": [
                {"type": "function_call", "id": "f", "call_id": "1", "name": tool, "arguments": json.dumps(arguments)}
            ],
        },
        limit=lambda body: body["max_output_tokens"],
        stream={"stream": True},
    ),
    "anthropic": Api(
        target="/v1/messages",
        request=lambda text, tool: {
            "model": "gpt-4",
            "max_tokens": 5000,
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}],
            "tools": [{"name": tool, "input_schema": TOOL_SCHEMA}],
        },
        whole=lambda text: _message({"type": "text", "text": text}),
        pieces=_messages_pieces,
        call=lambda tool, arguments: _message({"type": "tool_use", "id": "1", "name": tool, "input": arguments}),
        limit=lambda body: body["max_tokens"],
        stream={"stream": True},
    ),
    "gemini": Api(
        target="/v1beta/models/gpt-4:generateContent",
        stream_target="/v1beta/models/gpt-4:streamGenerateContent?alt=sse",
        renamed_target="/v1beta/models/other:generateContent",
        request=lambda text, tool: {
            "contents": [{"role": "user", "parts": [{"text": text}]}],
            "tools": [{"functionDeclarations": [{"name": tool, "parameters": TOOL_SCHEMA}]}],
        },
        whole=lambda text: _candidate({"text": text}),
        pieces=_gemini_pieces,
        call=lambda tool, arguments: _candidate({"functionCall": {"name": tool, "args": arguments}}),
        limit=lambda body: body["generationConfig"]["maxOutputTokens"],
    ),
    "ollama": Api(
        target="/api/chat",
        request=lambda text, tool: {
            "model": "gpt-4",
            "stream": False,
            "messages": [{"role": "user", "content": text}],
            "tools": [{"type": "function", "function": {"name": tool, "parameters": TOOL_SCHEMA}}],
        },
        whole=lambda text: _ollama({"content": text}, done=True),
        pieces=lambda texts: lines(
            *(_ollama({"content": text}, done=False) for text in texts), _ollama({"content": ""}, done=True)
        ),
        call=lambda tool, arguments: _ollama(
            {"content": "", "tool_calls": [{"function": {"name": tool, "arguments": arguments}}]}, done=True
        ),
        limit=lambda body: body["options"]["num_predict"],
        kind="application/x-ndjson",
        stream={"stream": True},
    ),
}
