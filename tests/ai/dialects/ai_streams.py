"""Streams of servers that cannot be recorded here, written after the API references: "Streaming" of each."""

from __future__ import annotations

import json


def sse(*events: dict, named: bool = False) -> list[bytes]:
    return [
        (f"event: {event['type']}\n" if named else "").encode() + b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    ]


def data(stream: list[bytes]) -> list[dict]:
    return [json.loads(line[6:]) for event in stream for line in event.split(b"\n") if line.startswith(b"data: {")]


def chat_chunk(*choices: dict, **more) -> dict:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795443120, "model": "gpt-4o"}
    return {**head, "choices": list(choices), **more}


def choice(delta: dict, *, index: int = 0, finish: str | None = None) -> dict:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


def call(arguments: str, *, index: int = 0, **more) -> dict:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments, **more.pop("function", {})}, **more}]}


def _named(index: int, name: str) -> dict:
    return {"id": f"call_{index}", "type": "function", "function": {"name": name}}


CHAT_WITH_TOOLS = sse(
    chat_chunk(choice({"role": "assistant", "content": None})),
    chat_chunk(choice({"reasoning_content": "Which"})),
    chat_chunk(choice(call("", **_named(0, "weather")))),
    chat_chunk(choice(call('{"city":'))),
    chat_chunk(choice(call('"Oslo"}'))),
    chat_chunk(choice(call('{"of":1}', index=1, **_named(1, "time")))),
    chat_chunk(choice({"content": "No"}, index=1)),
    chat_chunk(choice({"refusal": "never"}, index=1)),
    chat_chunk(choice({}, finish="tool_calls"), choice({}, index=1, finish="stop")),
    chat_chunk(
        usage={
            "prompt_tokens": 9,
            "completion_tokens": 7,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        }
    ),
)

AZURE_PROMPT_FILTER = chat_chunk(
    prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}], id="", model=""
)

_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1795443120,
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "model": "gpt-4o",
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": None,
}


def _response_events():
    item = {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Hello you", "annotations": []}],
    }
    begun = {**item, "status": "in_progress", "content": []}
    part = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    function = {
        "id": "fc_1",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "weather",
        "arguments": '{"city":"Oslo"}',
    }
    thought = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}
    summary = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    of_call = {"item_id": "fc_1", "output_index": 2}
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 16,
    }
    done = {**_RESPONSE, "status": "completed", "output": [thought, item, function], "usage": usage}
    yield "response.created", {"response": _RESPONSE}
    yield "response.in_progress", {"response": _RESPONSE}
    yield "response.output_item.added", {"output_index": 0, "item": {**thought, "summary": []}}
    yield "response.reasoning_summary_part.added", {**summary, "part": {"type": "summary_text", "text": ""}}
    yield "response.reasoning_summary_text.delta", {**summary, "delta": "Hm"}
    yield "response.reasoning_summary_text.done", {**summary, "text": "Hm"}
    yield "response.reasoning_summary_part.done", {**summary, "part": thought["summary"][0]}
    yield "response.output_item.done", {"output_index": 0, "item": thought}
    yield "response.output_item.added", {"output_index": 1, "item": begun}
    yield "response.content_part.added", {**part, "part": {"type": "output_text", "text": "", "annotations": []}}
    yield "response.output_text.delta", {**part, "delta": "Hello ", "logprobs": [], "obfuscation": "x"}
    yield "response.output_text.delta", {**part, "delta": "you", "logprobs": []}
    yield "response.output_text.done", {**part, "text": "Hello you", "logprobs": []}
    yield "response.content_part.done", {**part, "part": item["content"][0]}
    yield "response.output_item.done", {"output_index": 1, "item": item}
    yield "response.output_item.added", {"output_index": 2, "item": {**function, "arguments": ""}}
    yield "response.function_call_arguments.delta", {**of_call, "delta": '{"city":'}
    yield "response.function_call_arguments.delta", {**of_call, "delta": '"Oslo"}'}
    yield "response.function_call_arguments.done", {**of_call, "arguments": '{"city":"Oslo"}'}
    yield "response.output_item.done", {"output_index": 2, "item": function}
    yield "response.completed", {"response": done}


RESPONSES = sse(
    *(
        {"type": kind, **content, "sequence_number": number}
        for number, (kind, content) in enumerate(_response_events())
    ),
    named=True,
)
"""Thought, text and a call of a tool. The eleventh event is the first piece of the text."""

MESSAGES = sse(
    {
        "type": "message_start",
        "message": {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {
                "input_tokens": 9,
                "cache_read_input_tokens": 4,
                "cache_creation_input_tokens": 2,
                "output_tokens": 1,
            },
        },
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "c2ln"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello "}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "you"}},
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"city":'}},
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '"Oslo"}'}},
    {"type": "content_block_stop", "index": 2},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use", "stop_sequence": None},
        "usage": {"output_tokens": 7},
    },
    {"type": "message_stop"},
    named=True,
)
"""A thought, a text and a call of a tool. The eighth event is the first piece of the text."""


def candidate(*parts: dict, finish: str | None = None, **more) -> dict:
    end = {"finishReason": finish} if finish else {}
    return {"content": {"role": "model", "parts": list(parts)}, **end, **more}


def _gemini(*candidates: dict, **usage) -> dict:
    counts = {"promptTokenCount": 9, **usage}
    return {
        "candidates": list(candidates),
        "usageMetadata": {**counts, "totalTokenCount": sum(counts.values())},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r1",
    }


GEMINI = sse(
    _gemini(candidate({"text": "Hm", "thought": True}, index=0), thoughtsTokenCount=2),
    _gemini(candidate({"text": "Hello "}), thoughtsTokenCount=2, candidatesTokenCount=2),
    _gemini(candidate({"text": "you"}), thoughtsTokenCount=2, candidatesTokenCount=3),
    _gemini(
        candidate({"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}, finish="STOP", index=0),
        thoughtsTokenCount=2,
        candidatesTokenCount=5,
    ),
)
