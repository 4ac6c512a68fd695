"""PyPI's openai: chat completions, embeddings, models."""

from __future__ import annotations

from contextlib import suppress

from openai import AsyncOpenAI, OpenAI

from ai.clients.collected import Collected, Left
from ai.clients.exchange import IMAGE, TOOL, TOOL_SCHEMA, Answer, Question


def ask(question: Question) -> Answer:
    with OpenAI(base_url=f"{question.url}/v1", api_key=question.key) as client:
        if question.operation == "embed":
            return _embedded(client.embeddings.create(model=question.model, input=[question.user, "another"]))
        if question.operation == "models":
            return Answer(models=tuple(sorted(each.id for each in client.models.list())))
        collected = Collected(question.leave_after)
        if not question.stream:
            _whole(collected, client.chat.completions.create(**arguments(question)))
            return collected.answer()
        with client.chat.completions.create(**arguments(question)) as stream, suppress(Left):
            for chunk in stream:
                _chunk(collected, chunk)
        return collected.answer()


async def ask_async(question: Question) -> Answer:
    async with AsyncOpenAI(base_url=f"{question.url}/v1", api_key=question.key) as client:
        if question.operation == "embed":
            return _embedded(await client.embeddings.create(model=question.model, input=[question.user, "another"]))
        if question.operation == "models":
            return Answer(models=tuple(sorted([each.id async for each in client.models.list()])))
        collected = Collected(question.leave_after)
        if not question.stream:
            _whole(collected, await client.chat.completions.create(**arguments(question)))
            return collected.answer()
        async with await client.chat.completions.create(**arguments(question)) as stream:
            with suppress(Left):
                async for chunk in stream:
                    _chunk(collected, chunk)
        return collected.answer()


def arguments(question: Question) -> dict:
    """What the library is called with."""
    content: object = question.user
    if question.image:
        url = {"url": f"data:image/png;base64,{IMAGE}"}
        content = [{"type": "image_url", "image_url": url}, {"type": "text", "text": question.user}]
    system = [{"role": "system", "content": question.system}] if question.system else []
    given: dict = {"model": question.model, "messages": [*system, {"role": "user", "content": content}]}
    if question.limit:
        given["max_tokens"] = question.limit
    if question.tools:
        function = {"name": TOOL, "description": "Look up a place.", "parameters": TOOL_SCHEMA}
        given["tools"] = [{"type": "function", "function": function}]
    if question.choices > 1:
        given["n"] = question.choices
    if question.stream:
        given |= {"stream": True}
    return given


def _whole(collected: Collected, completion: object) -> None:
    collected.model = completion.model
    for choice in completion.choices:
        collected.piece(choice.message.content, choice=choice.index)
        collected.thoughts += getattr(choice.message, "reasoning_content", None) or ""
        for call in choice.message.tool_calls or ():
            collected.call(call.id, name=call.function.name, arguments=call.function.arguments)
        collected.finish = choice.finish_reason
    collected.tokens(completion.usage.prompt_tokens, completion.usage.completion_tokens)


def _chunk(collected: Collected, chunk: object) -> None:
    collected.model = chunk.model
    # Applications that did not ask for usage rely on there being a choice.
    choice = chunk.choices[0]
    collected.thoughts += getattr(choice.delta, "reasoning_content", None) or ""
    for call in choice.delta.tool_calls or ():
        collected.call((choice.index, call.index), name=call.function.name, arguments=call.function.arguments)
    collected.finish = choice.finish_reason or collected.finish
    assert chunk.usage is None, "usage came without having been asked for"
    collected.piece(choice.delta.content, choice=choice.index)


def _embedded(embeddings: object) -> Answer:
    assert all(isinstance(each.embedding, list) for each in embeddings.data)
    return Answer(vectors=len(embeddings.data), model=embeddings.model)
