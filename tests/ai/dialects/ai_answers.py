"""Answers in one document that have all in them that an API says, each text with a name of its own."""

from __future__ import annotations

from ai_streams import MESSAGES, RESPONSES, candidate, data

_CHAT_USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 7,
    "total_tokens": 16,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1795443120,
    "model": "the-model",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "reasoning_content": "r1",
                "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
                    {"id": "d", "type": "custom", "custom": {"name": "run", "input": "i"}},
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        },
        {
            "index": 1,
            "message": {
                "role": "assistant",
                "content": "o1",
                "refusal": "n",
                "audio": {"id": "a", "data": "c291bmQ=", "transcript": "o2", "expires_at": 1},
                "function_call": {"name": "old", "arguments": "{}"},
            },
            "logprobs": {"content": [{"token": "o1", "logprob": -1}]},
            "finish_reason": "stop",
        },
        {
            "index": 2,
            "message": {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "r2"}]},
                    {"type": "text", "text": "o3"},
                ],
            },
            "finish_reason": "stop",
        },
    ],
    "usage": _CHAT_USAGE,
}

RESPONSE = {**data(RESPONSES)[-1]["response"], "model": "the-model"}

MESSAGE = {
    **data(MESSAGES)[0]["message"],
    "model": "the-model",
    "content": [
        {"type": "thinking", "thinking": "r", "signature": "c2ln"},
        {"type": "text", "text": "o1", "citations": [{"type": "char_location", "cited_text": "o2"}]},
        {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo", "more": ["x", 1]}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 9, "output_tokens": 7, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 2},
}

GEMINI = {
    "candidates": [
        candidate(
            {"text": "r", "thought": True},
            {"text": "o1"},
            {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
            {"executableCode": {"language": "PYTHON", "code": "c"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "t"}},
            finish="STOP",
            index=0,
            groundingMetadata={"groundingSupports": [{"segment": {"endIndex": 2, "text": "o1"}}]},
        )
    ],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 5, "thoughtsTokenCount": 2, "totalTokenCount": 16},
    "modelVersion": "the-model",
    "responseId": "r1",
}

OLLAMA = {
    "model": "the-model",
    "created_at": "2026-11-23T14:11:58.374869715Z",
    "message": {
        "role": "assistant",
        "content": "o1",
        "thinking": "r",
        "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
    },
    "done_reason": "stop",
    "done": True,
    "prompt_eval_count": 9,
    "eval_count": 7,
}

ALL = {
    "chat": ("openai_chat", "chat_completions", CHAT),
    "responses": ("openai_responses", "responses", RESPONSE),
    "background response": ("openai_responses", "responses_get", RESPONSE),
    "messages": ("anthropic", "messages", MESSAGE),
    "gemini": ("gemini", "generateContent", GEMINI),
    "ollama": ("ollama", "chat", OLLAMA),
}

SAID = {
    "chat": {
        "reasoning": ["r1", "r2"],
        "tool_arguments": ['{"city":"Oslo"}', "i", "{}"],
        "output": ["o1", "o2", "o3"],
        "refusal": ["n"],
    },
    "responses": {"reasoning": ["Hm"], "output": ["Hello you"], "tool_arguments": ['{"city":"Oslo"}']},
    "messages": {"reasoning": ["r"], "output": ["o1", "o2"], "tool_arguments": ["Oslo", "x", "1"]},
    "gemini": {"reasoning": ["r"], "output": ["o1"], "tool_arguments": ["Oslo", "c"], "tool": ["t"]},
    "ollama": {"output": ["o1"], "reasoning": ["r"], "tool_arguments": ["Oslo"]},
}
SAID["background response"] = SAID["responses"]
