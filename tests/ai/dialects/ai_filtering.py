"""Streams through the native filter, with what a dialect adds where one is ended."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from ai_asking import SAYS_NO, asked, dialect
from ai_samples import exchange
from ai_streams import CHAT_WITH_TOOLS, GEMINI, MESSAGES, RESPONSES, data

from kube_gateway._native import FilterPlan, Patterns
from kube_gateway.ai.dialect import Outcome
from kube_gateway.ai.pattern import Pattern

ARRAY = b"[" + b",\r\n".join(msgspec.json.encode(each) for each in data(GEMINI)) + b"\n]\n"


@dataclass(frozen=True)
class Stream:
    dialect: str
    endpoint: str
    framing: str
    body: bytes

    @property
    def shape(self):
        return asked(self.dialect, self.endpoint).endpoint.stream


def _recorded(name: str, dialect_name: str, endpoint: str) -> Stream:
    framing = "ndjson" if dialect_name == "ollama" else "sse"
    return Stream(dialect_name, endpoint, framing, exchange(name).body)


STREAMS = {
    "ollama chat": _recorded("api-chat-stream", "ollama", "chat"),
    "ollama generate": _recorded("api-generate-stream", "ollama", "generate"),
    "recorded chat": _recorded("v1-chat-stream-usage", "openai_chat", "chat_completions"),
    "recorded completions": _recorded("v1-completions-stream-usage", "openai_completions", "completions"),
    "chat with tools": Stream(
        "openai_chat", "chat_completions", "sse", b"".join([*CHAT_WITH_TOOLS, b"data: [DONE]\n\n"])
    ),
    "responses": Stream("openai_responses", "responses", "sse", b"".join(RESPONSES)),
    "messages": Stream("anthropic", "messages", "sse", b"".join(MESSAGES)),
    "gemini": Stream("gemini", "streamGenerateContent", "sse", b"".join(GEMINI)),
    "gemini array": Stream("gemini", "streamGenerateContent", "array", ARRAY),
    "litellm chat": _recorded("litellm-chat-stream", "openai_chat", "chat_completions"),
    "litellm responses": _recorded("litellm-responses-stream", "openai_responses", "responses"),
    "litellm responses with tools": _recorded("litellm-responses-tools-stream", "openai_responses", "responses"),
    "litellm messages": _recorded("litellm-messages-stream", "anthropic", "messages"),
    "litellm messages with tools": _recorded("litellm-messages-tools-stream", "anthropic", "messages"),
    "litellm gemini": _recorded("litellm-gemini-stream", "gemini", "streamGenerateContent"),
    "litellm gemini with tools": _recorded("litellm-gemini-tools-stream", "gemini", "streamGenerateContent"),
}


def masks(*literals: str, action: str = "mask") -> Patterns:
    return Patterns(msgspec.json.encode([Pattern(id=each, literal=each, action=action) for each in literals]))


def filtered(
    stream: Stream, *, size: int = 1 << 20, patterns=None, tools: bytes = b"[]", **start
) -> tuple[bytes, Outcome]:
    """What comes out of a stream that arrives in pieces of `size` bytes."""
    lanes = dict.fromkeys(("output", "tool_arguments", "refusal", "reasoning"), patterns) if patterns else {}
    plan = FilterPlan(msgspec.json.encode(stream.shape), patterns=lanes, shadow={}, tools=tools)
    through = plan.start(framing=stream.framing, **start)
    out = b""
    for at in range(0, len(stream.body), size):
        out += through.feed(stream.body[at : at + size])
        if through.ended:
            break
    else:
        out += through.finish()
    return out, msgspec.json.decode(through.outcome(), type=Outcome)


def ended(stream: Stream, *, reason: str = "blocked", choices: int = 1, **options) -> bytes:
    """What a client gets of a stream that the filter ends."""
    out, outcome = filtered(stream, **options)
    assert outcome.denied or outcome.cut
    target = "/v1/models/m:streamGenerateContent" + ("?alt=sse" if stream.framing == "sse" else "")
    request = asked(stream.dialect, stream.endpoint, streaming=True, choices=choices, target=target)
    return out + dialect(stream.dialect).ending(request, outcome=outcome, reason=reason, message=SAYS_NO)
