"""Every rule as every library's caller sees it, streamed or not, in a real pod with a real gateway and a real server."""

from __future__ import annotations

import time

import pytest

from ai.clients.exchange import Question
from ai.clients.rules import QUESTION, RULES, Case
from ai.servers.world import GOVERNED, LIBRARIES

pytestmark = pytest.mark.root


class Counts:
    """How many calls the test made, and what gateway and servers count of them."""

    def __init__(self, world) -> None:
        self._world = world
        self.asked = 0
        self._calls, self._blocked = self._reported()
        self._reached = self._requests()

    def check(self, rule) -> None:
        """Each call was one call, to the gateway and to the server: no library tried again."""
        calls, blocked = self._wait_reported(self._calls + self.asked)
        assert calls - self._calls == self.asked
        assert blocked - self._blocked == (self.asked if rule.blocked else 0)
        assert self._requests() - self._reached == (self.asked if rule.reaches else 0)

    def _wait_reported(self, at_least: int) -> tuple[int, int]:
        deadline = time.monotonic() + 5
        while (reported := self._reported())[0] < at_least and time.monotonic() < deadline:
            time.sleep(0.1)
        return reported

    def _reported(self) -> tuple[int, int]:
        report = self._world.pods.report(GOVERNED).ai
        return sum(model.calls for model in report.models), sum(report.blocked.values())

    def _requests(self) -> int:
        return self._world.requests()


@pytest.fixture(scope="module")
def governed(world):
    """The pod `governed` has a gateway for LLM calls."""
    world.govern()
    return world


@pytest.fixture(scope="module", params=RULES, ids=lambda rule: rule.name)
def rule(request, governed):
    with governed.policy(request.param.policy):
        yield request.param


@pytest.fixture(scope="module")
def counts(rule, governed):
    counts = Counts(governed)
    yield counts
    counts.check(rule)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_rule(governed, rule, counts, library, stream, asynchronous):
    url, key = governed.real(library)
    asked = {"user": QUESTION, **rule.question}
    question = Question(url=url, key=key, stream=stream, asynchronous=asynchronous, **asked)
    counts.asked += 1
    answer = governed.application(library, pod=GOVERNED).ask(question)
    rule.expect(Case(library, question), answer)
