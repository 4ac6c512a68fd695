"""Requests that have all in them that an API knows, each text with a name of its own."""

from __future__ import annotations

_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,c2VjcmV0"}}
_FUNCTION = {"name": "f", "description": "d1", "parameters": {"properties": {"p": {"description": "d2"}}}}
CHAT = {
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": [{"type": "text", "text": "u1"}, _IMAGE]},
        {"role": "critic", "content": "u2"},
        {"name": "u4", "content": "u3"},
        {
            "role": "assistant",
            "content": None,
            "refusal": "a1",
            "reasoning_content": "r",
            "tool_calls": [
                {"function": {"name": "f", "arguments": "{}"}},
                {"type": "custom", "custom": {"name": "g", "input": "i"}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "refusal", "refusal": "a2"}],
            "function_call": {"arguments": "l"},
        },
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "r2"}, {"thinking": ["r3", {"text": "r4"}]}],
        },
        {"role": "tool", "content": "t1"},
        {"role": "function", "name": "f", "content": [{"type": "text", "text": "t2"}]},
    ],
    "prediction": {"type": "content", "content": "a3"},
    "tools": [{"type": "function", "function": _FUNCTION}],
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"title": "d3"}}},
    "user": "me",
    "metadata": {"k": "v"},
}


RESPONSES = {
    "instructions": "s1",
    "input": [
        {"role": "user", "content": "u1"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u2"}]},
        {"role": "developer", "content": "d"},
        {"role": "system", "content": "s2"},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a1"}, {"type": "refusal", "refusal": "a2"}],
        },
        {"type": "reasoning", "summary": [{"text": "r1"}], "content": [{"text": "r2"}], "encrypted_content": "x"},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "name": "g", "input": "i"},
        {"type": "function_call_output", "call_id": "c", "output": "t1"},
        {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "t2"}]},
        {"type": "shell_call_output", "output": [{"stdout": "t3", "stderr": "t4"}]},
        {"type": "item_reference", "id": "msg_1"},
    ],
    "prompt": {"id": "p", "variables": {"name": "u3", "more": {"type": "input_text", "text": "u4"}}},
    "tools": [{"type": "function", "name": "f", "description": "d1", "parameters": {"title": "d2"}}],
}


_PLAIN = {"type": "document", "source": {"type": "text", "data": "u2"}, "title": "u3", "context": "u4"}
MESSAGES = {
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": "u1"},
        {
            "role": "user",
            "content": [
                _PLAIN,
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "no text"}},
                {"type": "tool_result", "tool_use_id": "t", "content": "t1"},
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "t2"}]},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "r", "signature": "sig"},
                {"type": "redacted_thinking", "data": "no text"},
                {"type": "text", "text": "a", "citations": [{"cited_text": "a2", "document_title": "no"}]},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"city": "Oslo", "deep": [{"x": "y"}]}},
            ],
        },
    ],
    "tools": [{"name": "f", "description": "d1", "input_schema": {"title": "d2"}}],
}


def gemini(*, snake: bool) -> dict:
    return {
        "system_instruction" if snake else "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [
            {"parts": [{"text": "u1"}, {"inline_data" if snake else "inlineData": {"data": "no text"}}]},
            {"role": "user", "parts": [{"text": "u2"}]},
            {"role": "model", "parts": [{"text": "r", "thought": True}, {"text": "a"}]},
            {
                "role": "model",
                "parts": [{"function_call" if snake else "functionCall": {"name": "f", "args": {"x": "c"}}}],
            },
            {"parts": [{"function_response" if snake else "functionResponse": {"name": "f", "response": {"y": "t"}}}]},
        ],
        "tools": [{"function_declarations" if snake else "functionDeclarations": [{"name": "f", "description": "d"}]}],
        "generation_config" if snake else "generationConfig": {"max_output_tokens" if snake else "maxOutputTokens": 5},
    }


OLLAMA = {
    "model": "gemma2:2b",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u", "images": ["c2VjcmV0"]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "r",
            "tool_calls": [{"function": {"name": "f", "arguments": {"city": "Oslo", "more": ["x", {"y": 1}]}}}],
        },
        {"role": "tool", "content": "t", "tool_name": "f"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    "format": {"title": "d2"},
    "options": {"num_predict": 4, "seed": 1},
    "stream": False,
}


def gemini_batch(*, snake: bool) -> dict:
    return {
        "batch": {
            "displayName": "no text",
            "input_config" if snake else "inputConfig": {
                "requests": {"requests": [{"request": gemini(snake=snake), "metadata": {"key": "no text"}}]}
            },
        }
    }


CREATE = {
    "model": "m",
    "from": "gemma2:2b",
    "system": "s1",
    "template": "s2",
    "messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}],
    "parameters": {"seed": 1},
}

ALL = [
    (("openai_chat", "chat_completions"), {**CHAT, "model": "m", "max_completion_tokens": 5, "stream": True, "n": 2}),
    (("openai_responses", "responses"), {**RESPONSES, "model": "m", "max_output_tokens": 5}),
    (("openai_completions", "completions"), {"model": "m", "prompt": ["a", "b"], "suffix": "c", "max_tokens": 5}),
    (("openai_completions", "completions"), {"model": "m", "prompt": [[1, 2], [3]], "n": 2}),
    (("openai_embeddings", "embeddings"), {"model": "m", "input": [1, 2, 3], "encoding_format": "base64"}),
    (("anthropic", "messages"), {**MESSAGES, "model": "m", "max_tokens": 5, "thinking": {"budget_tokens": 4}}),
    (("gemini", "generateContent"), gemini(snake=False)),
    (("gemini", "generateContent"), gemini(snake=True)),
    (("gemini", "countTokens"), {"generateContentRequest": gemini(snake=True)}),
    (("gemini", "batchEmbedContents"), {"requests": [{"model": "models/e", "content": {"parts": [{"text": "u"}]}}]}),
    (("anthropic", "batches"), {"requests": [{"custom_id": "1", "params": {**MESSAGES, "model": "m"}}]}),
    (("gemini", "batchGenerateContent"), gemini_batch(snake=False)),
    (("gemini", "batchGenerateContent"), gemini_batch(snake=True)),
    (("gemini", "cachedContents"), {**gemini(snake=False), "model": "models/g"}),
    (("ollama", "chat"), OLLAMA),
    (("ollama", "create"), CREATE),
    (("ollama", "embeddings"), {"model": "m", "input": ["u1", "u2"], "prompt": "u3"}),
    (("ollama", "generate"), {"model": "m", "prompt": "u", "system": "s", "context": [1, 2], "stream": True}),
]
"""Requests, each with the dialect and the endpoint that they are for."""
