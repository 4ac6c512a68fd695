"""A gateway that was stolen, or a stranger, says whatever it likes to the watcher of a cluster."""

from __future__ import annotations

import contextlib
import logging
import typing

from hypothesis import HealthCheck, given, settings

from hostile.inputs import corpus, lines
from hostile.length import amount
from kube_gateway.control import messages
from watcher.line_world import QUERY, WEB, YES, Watcher, context_of, hello

CLAIM = (
    "Whatever a certified gateway says to the watcher is answered or ends its line, and others are answered as before"
)


def said(count: int) -> list[bytes]:
    """Lines of messages, right and wrong, the same in each run; and those of the corpus."""
    found: list[bytes] = []

    @settings(
        max_examples=count, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(lines(typing.get_args(messages.FromGateway)))
    def collect(line):
        found.append(line)

    collect()
    return found + list(corpus("messages").values())


async def test_hostile_lines_harm_no_other(figures, caplog):
    every = said(amount(full=2000, short=200))
    ended = answered = 0
    caplog.set_level(logging.WARNING)
    async with Watcher() as watcher:
        watcher.lead()
        context = context_of(WEB)
        line = None
        for text in every:
            if line is None:
                line = await watcher.connect(context)
                line.say(hello())
            line.say(text.replace(b"\n", b" ") + b"\n")
            # A question that is always answered: then what came before it was taken.
            line.say(QUERY)
            if await answers(line):
                answered += 1
            else:
                ended += 1
                line = None
        honest = await watcher.connect(context)
        honest.say(hello(), QUERY)
        assert await answers(honest)
    assert answered > 0 < ended
    unexpected = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert not unexpected, unexpected[:3]
    figures(CLAIM, lines=len(every), answered=answered, lines_ended=ended, unhandled_errors=0)


async def answers(line) -> bool:
    """Whether the question is answered, whatever else is said before; False when the line has ended."""
    with contextlib.suppress(ConnectionError, OSError):
        while (heard := await line.hear()) is not None:
            if heard == YES:
                return True
    return False
