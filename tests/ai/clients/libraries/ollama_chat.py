"""PyPI's ollama: chat, embed, list."""

from __future__ import annotations

import json
from contextlib import suppress

from ollama import AsyncClient, Client

from ai.clients.collected import Collected, Left
from ai.clients.exchange import IMAGE, TOOL, TOOL_SCHEMA, Answer, Question


def ask(question: Question) -> Answer:
    client = Client(host=question.url)
    if question.operation == "embed":
        return _embedded(client.embed(model=question.model, input=[question.user, "another"]))
    if question.operation == "models":
        return Answer(models=tuple(sorted(each.model for each in client.list().models)))
    collected = Collected(question.leave_after)
    answer = client.chat(**_arguments(question))
    if not question.stream:
        _take(collected, answer)
        return collected.answer()
    with suppress(Left):
        for part in answer:
            _take(collected, part)
    answer.close()
    return collected.answer()


async def ask_async(question: Question) -> Answer:
    client = AsyncClient(host=question.url)
    if question.operation == "embed":
        return _embedded(await client.embed(model=question.model, input=[question.user, "another"]))
    if question.operation == "models":
        return Answer(models=tuple(sorted(each.model for each in (await client.list()).models)))
    collected = Collected(question.leave_after)
    answer = await client.chat(**_arguments(question))
    if not question.stream:
        _take(collected, answer)
        return collected.answer()
    with suppress(Left):
        async for part in answer:
            _take(collected, part)
    await answer.aclose()
    return collected.answer()


def _arguments(question: Question) -> dict:
    message: dict = {"role": "user", "content": question.user}
    if question.image:
        message["images"] = [IMAGE]
    system = [{"role": "system", "content": question.system}] if question.system else []
    given: dict = {"model": question.model, "messages": [*system, message], "stream": question.stream}
    if question.limit:
        given["options"] = {"num_predict": question.limit}
    if question.tools:
        function = {"name": TOOL, "description": "Look up a place.", "parameters": TOOL_SCHEMA}
        given["tools"] = [{"type": "function", "function": function}]
    return given


def _take(collected: Collected, part: object) -> None:
    collected.model = part.model
    collected.thoughts += part.message.thinking or ""
    for number, call in enumerate(part.message.tool_calls or ()):
        arguments = json.dumps(dict(call.function.arguments), ensure_ascii=False)
        collected.call(number, name=call.function.name, arguments=arguments)
    if part.done:
        collected.finish = part.done_reason
        collected.tokens(part.prompt_eval_count, part.eval_count)
    collected.piece(part.message.content)


def _embedded(embeddings: object) -> Answer:
    return Answer(vectors=len(embeddings.embeddings), model=embeddings.model)
