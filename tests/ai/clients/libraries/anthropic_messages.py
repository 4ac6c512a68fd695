"""PyPI's anthropic: messages."""

from __future__ import annotations

import json
from contextlib import suppress

from anthropic import Anthropic, AsyncAnthropic

from ai.clients.collected import Collected, Left
from ai.clients.exchange import IMAGE, TOOL, TOOL_SCHEMA, Answer, Question


def ask(question: Question) -> Answer:
    with Anthropic(base_url=question.url, api_key=question.key) as client:
        collected = Collected(question.leave_after)
        if not question.stream:
            _whole(collected, client.messages.create(**_arguments(question)), texts=True)
            return collected.answer()
        with client.messages.stream(**_arguments(question)) as stream, suppress(Left):
            for text in stream.text_stream:
                collected.piece(text)
            _whole(collected, stream.get_final_message(), texts=False)
        return collected.answer()


async def ask_async(question: Question) -> Answer:
    async with AsyncAnthropic(base_url=question.url, api_key=question.key) as client:
        collected = Collected(question.leave_after)
        if not question.stream:
            _whole(collected, await client.messages.create(**_arguments(question)), texts=True)
            return collected.answer()
        async with client.messages.stream(**_arguments(question)) as stream:
            with suppress(Left):
                async for text in stream.text_stream:
                    collected.piece(text)
                _whole(collected, await stream.get_final_message(), texts=False)
        return collected.answer()


def _arguments(question: Question) -> dict:
    content: list[dict] = [{"type": "text", "text": question.user}]
    if question.image:
        source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
        content.insert(0, {"type": "image", "source": source})
    messages = [{"role": "user", "content": content if question.image else question.user}]
    given: dict = {"model": question.model, "max_tokens": question.limit or 1000, "messages": messages}
    if question.system:
        given["system"] = question.system
    if question.tools:
        given["tools"] = [{"name": TOOL, "description": "Look up a place.", "input_schema": TOOL_SCHEMA}]
    return given


def _whole(collected: Collected, message: object, *, texts: bool) -> None:
    collected.model = message.model
    collected.finish = message.stop_reason
    collected.tokens(message.usage.input_tokens, message.usage.output_tokens)
    for block in message.content:
        if block.type == "thinking":
            collected.thoughts += block.thinking
        elif block.type == "tool_use":
            collected.call(block.id, name=block.name, arguments=json.dumps(block.input, ensure_ascii=False))
        elif texts:
            collected.piece(block.text)
