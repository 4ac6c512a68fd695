"""PyPI's openai: responses."""

from __future__ import annotations

from contextlib import suppress

from openai import AsyncOpenAI, OpenAI

from ai.clients.collected import Collected, Left
from ai.clients.exchange import IMAGE, TOOL, TOOL_SCHEMA, Answer, Question


def ask(question: Question) -> Answer:
    with OpenAI(base_url=f"{question.url}/v1", api_key=question.key) as client:
        collected = Collected(question.leave_after)
        answer = client.responses.create(**_arguments(question))
        if not question.stream:
            _whole(collected, answer)
            return collected.answer()
        with answer, suppress(Left):
            for event in answer:
                _event(collected, event)
        return collected.answer()


async def ask_async(question: Question) -> Answer:
    async with AsyncOpenAI(base_url=f"{question.url}/v1", api_key=question.key) as client:
        collected = Collected(question.leave_after)
        answer = await client.responses.create(**_arguments(question))
        if not question.stream:
            _whole(collected, answer)
            return collected.answer()
        async with answer:
            with suppress(Left):
                async for event in answer:
                    _event(collected, event)
        return collected.answer()


def _arguments(question: Question) -> dict:
    content: list[dict] = [{"type": "input_text", "text": question.user}]
    if question.image:
        content.insert(0, {"type": "input_image", "image_url": f"data:image/png;base64,{IMAGE}", "detail": "auto"})
    asked: object = [{"role": "user", "content": content}] if question.image else question.user
    given: dict = {"model": question.model, "input": asked, "stream": question.stream, "store": False}
    if question.system:
        given["instructions"] = question.system
    if question.limit:
        given["max_output_tokens"] = question.limit
    if question.tools:
        given["tools"] = [{"type": "function", "name": TOOL, "parameters": TOOL_SCHEMA, "strict": False}]
    return given


def _whole(collected: Collected, response: object) -> None:
    _ended(collected, response)
    collected.piece(response.output_text)
    for item in response.output:
        if item.type == "function_call":
            collected.call(item.call_id, name=item.name, arguments=item.arguments)


def _event(collected: Collected, event: object) -> None:
    if event.type == "response.output_item.added" and event.item.type == "function_call":
        collected.call(event.output_index, name=event.item.name)
    elif event.type == "response.function_call_arguments.delta":
        collected.call(event.output_index, arguments=event.delta)
    elif event.type in {"response.completed", "response.incomplete", "response.failed"}:
        _ended(collected, event.response)
        # The text stands in the last event once more: whoever reads only that one must not read something else.
        whole = event.type == "response.completed"
        assert not whole or event.response.output_text == collected.answer().texts[0], event.response.output_text
    elif event.type == "response.output_text.delta":
        collected.piece(event.delta)


def _ended(collected: Collected, response: object) -> None:
    collected.model = response.model
    collected.finish = response.status
    if response.usage:
        collected.tokens(response.usage.input_tokens, response.usage.output_tokens)
