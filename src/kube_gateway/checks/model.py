"""A check as data: what should be so, how to judge it, and what to do if it is not.

Fetching and judging are apart: a category fetches its facts once, and each of its checks is a pure function of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from kube_gateway.checks.asking import Refusal, Unanswered
from kube_gateway.checks.session import Session

F = TypeVar("F")
"""The facts of a category."""

Status = Literal["ok", "warning", "failed"]
Stops = Literal["nothing", "category", "everything"]


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of several things that a check found: what it is about (empty for a rule), what is so, what to do."""

    message: str
    about: str = ""
    hint: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a check came out. `message` says what is so; a `hint` takes the place of the check's own."""

    ok: bool
    message: str = ""
    hint: str = ""
    findings: tuple[Finding, ...] = ()


class Check(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """`description` says what should be so, in the present tense; `hint` what to do when it is not.

    `warns`: that it is not so is no failure. `retry`: it may come right by itself soon. `stops`: what makes no sense any
    more after a failure.
    """

    description: str
    judge: Callable[[F], Outcome]
    hint: str = ""
    warns: bool = False
    retry: bool = False
    stops: Stops = "nothing"


class Category(msgspec.Struct, Generic[F], frozen=True, kw_only=True):
    """Checks that judge the same facts. `fetch` raises `KubernetesError`."""

    name: str
    fetch: Callable[[Session], Awaitable[F]]
    checks: tuple[Check[F], ...]


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is told of one check."""

    category: str
    description: str
    status: Status
    message: str = ""
    hint: str = ""
    findings: tuple[Finding, ...] = ()


def ok(message: str = "") -> Outcome:
    """It is so."""
    return Outcome(ok=True, message=message)


def bad(message: str, *, hint: str = "", findings: tuple[Finding, ...] = ()) -> Outcome:
    """It is not so."""
    return Outcome(ok=False, message=message, hint=hint, findings=findings)


def judged(check: Check[F], facts: F) -> Outcome | Refusal:
    """How it comes out, or what may not be asked."""
    try:
        return check.judge(facts)
    except Unanswered as unanswered:
        return unanswered.refusal


def result_of(check: Check[Any], outcome: Outcome | Refusal, *, category: str) -> Result:
    """What is told of it. What is not known is a warning: what may not be asked names the rule that is missing."""
    if isinstance(outcome, Refusal):
        return _not_known(check, outcome, category=category)
    status: Status = "ok" if outcome.ok else "warning" if check.warns else "failed"
    hint = "" if outcome.ok else outcome.hint or ("" if any(found.hint for found in outcome.findings) else check.hint)
    return Result(
        category=category,
        description=check.description,
        status=status,
        message=outcome.message,
        hint=hint,
        findings=outcome.findings,
    )


def _not_known(check: Check[Any], refusal: Refusal, *, category: str) -> Result:
    return Result(
        category=category,
        description=check.description,
        status="warning",
        message=f"not known: {refusal.message}",
        hint=refusal.hint,
    )
