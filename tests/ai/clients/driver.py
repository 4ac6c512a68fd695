"""`python -m ai.clients.driver LIBRARY`: a program that uses one library for LLM APIs, as any application would.

It answers one question a line (JSON of `Question`) with one line (JSON list of `Answer`), until its input ends. The
library's module has `ask` and `ask_async`, both from a question to an answer, with the library's own settings: retries
above all are left as they are.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import msgspec

from ai.clients.exchange import Answer, Failure, Question


def _failed(error: Exception) -> Answer:
    classes = tuple(each.__name__ for each in type(error).__mro__)
    status = next(
        (value for name in ("status_code", "code") if isinstance(value := getattr(error, name, None), int)), None
    )
    return Answer(failure=Failure(classes=classes, status=status, text=str(error)))


def _one(library: ModuleType, question: Question) -> Answer:
    try:
        return library.ask(question)
    except Exception as error:
        return _failed(error)


async def _all_async(library: ModuleType, question: Question) -> list[Answer]:
    async def one() -> Answer:
        try:
            return await library.ask_async(question)
        except Exception as error:
            return _failed(error)

    return list(await asyncio.gather(*(one() for _ in range(question.at_once))))


def _answers(library: ModuleType, question: Question) -> list[Answer]:
    if question.asynchronous:
        return asyncio.run(_all_async(library, question))
    with ThreadPoolExecutor(question.at_once) as threads:
        return list(threads.map(lambda _: _one(library, question), range(question.at_once)))


def main() -> None:
    """Answer until the input ends."""
    library = importlib.import_module(f"ai.clients.libraries.{sys.argv[1]}")
    for line in sys.stdin.buffer:
        answers = _answers(library, msgspec.json.decode(line, type=Question))
        sys.stdout.buffer.write(msgspec.json.encode(answers) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
