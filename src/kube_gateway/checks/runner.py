"""Runs checks one after the other, and those again that may come right by waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from kube_gateway.checks.asking import Refusal
from kube_gateway.checks.model import Category, Result, Stops, judged, result_of
from kube_gateway.checks.session import Session
from kube_gateway.kube.refusals import KubernetesError

PAUSE = 2.0
"""Seconds between two looks while waiting."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All results, and the descriptions of checks that were not made, as others had failed."""

    results: tuple[Result, ...]
    not_checked: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings are allowed."""
        return all(result.status != "failed" for result in self.results)


class _Round(msgspec.Struct, kw_only=True):
    """One look at a category. `pending`: descriptions of what is not so yet and may come right."""

    results: list[Result] = []
    not_checked: list[str] = []
    pending: list[str] = []
    stops: Stops = "nothing"


async def run_checks(
    session: Session,
    categories: Sequence[Category[Any]],
    *,
    wait: float,
    tell: Callable[[Result], None],
    waiting: Callable[[str], None],
    pause: float = PAUSE,
) -> Report:
    """Check everything. `wait` seconds at most are spent on what may come right, all in all.

    `tell` is called with each result that is final, `waiting` with the description of each check that is waited for.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    results: list[Result] = []
    not_checked: list[str] = []
    waited_for: set[str] = set()
    stopped = False
    for category in categories:
        if stopped:
            not_checked += [f"{category.name}: {check.description}" for check in category.checks]
            continue
        look = await _look(session, category)
        while look.pending and loop.time() + pause <= deadline:
            for description in look.pending:
                if description not in waited_for:
                    waited_for.add(description)
                    waiting(description)
            await asyncio.sleep(pause)
            look = await _look(session, category)
        for result in look.results:
            tell(result)
        results += look.results
        not_checked += look.not_checked
        stopped = look.stops == "everything"
    return Report(results=tuple(results), not_checked=tuple(not_checked))


async def _look(session: Session, category: Category[Any]) -> _Round:
    try:
        facts = await category.fetch(session)
    except KubernetesError as error:
        return _not_fetched(category, error)
    return judge_all(category, facts)


def judge_all(category: Category[Any], facts: Any) -> _Round:  # noqa: ANN401 - as the category has it
    """Judge facts. What may not be asked is told once, and checks that need the same are not made."""
    look = _Round()
    refused: set[Refusal] = set()
    for check in category.checks:
        outcome = None if look.stops != "nothing" else judged(check, facts)
        if outcome is None or (isinstance(outcome, Refusal) and outcome in refused):
            look.not_checked.append(f"{category.name}: {check.description}")
            continue
        result = result_of(check, outcome, category=category.name)
        look.results.append(result)
        if isinstance(outcome, Refusal):
            refused.add(outcome)
        elif not outcome.ok:
            if check.retry:
                look.pending.append(check.description)
            if result.status == "failed":
                look.stops = check.stops
    return look


def _not_fetched(category: Category[Any], error: KubernetesError) -> _Round:
    """The server answered before, and does not now."""
    result = Result(
        category=category.name,
        description="the API server answers",
        status="failed",
        message=error.message,
        hint=error.hint or "kube-gateway check --wait 60",
    )
    not_checked = [f"{category.name}: {check.description}" for check in category.checks]
    return _Round(results=[result], not_checked=not_checked, pending=[result.description])
