"""PyPI's openai: the older completions, which vLLM's users still have."""

from __future__ import annotations

from contextlib import suppress

from openai import AsyncOpenAI, OpenAI

from ai.clients.collected import Collected, Left
from ai.clients.exchange import Answer, Question


def ask(question: Question) -> Answer:
    with OpenAI(base_url=f"{question.url}/v1", api_key=question.key) as client:
        collected = Collected(question.leave_after)
        answer = client.completions.create(**_arguments(question))
        with suppress(Left):
            for each in answer if question.stream else [answer]:
                _take(collected, each)
        return collected.answer()


async def ask_async(question: Question) -> Answer:
    async with AsyncOpenAI(base_url=f"{question.url}/v1", api_key=question.key) as client:
        collected = Collected(question.leave_after)
        answer = await client.completions.create(**_arguments(question))
        if not question.stream:
            _take(collected, answer)
            return collected.answer()
        with suppress(Left):
            async for each in answer:
                _take(collected, each)
        return collected.answer()


def _arguments(question: Question) -> dict:
    given: dict = {"model": question.model, "prompt": question.user, "stream": question.stream}
    return given | ({"max_tokens": question.limit} if question.limit else {})


def _take(collected: Collected, completion: object) -> None:
    collected.model = completion.model
    choice = completion.choices[0]
    collected.finish = choice.finish_reason or collected.finish
    collected.piece(choice.text, choice=choice.index)
    if completion.usage:
        collected.tokens(completion.usage.prompt_tokens, completion.usage.completion_tokens)
