"""Budgets and rates: what a rule allows, and how a call takes its share before it is sent.

Charging a call when it has ended lets calls that run side by side spend the same rest of a budget each. So a call reserves
the most that it can use, is refused if that is not there, and settles what it used in the end.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one call: of the prompt, and of the answer (all choices together)."""

    input: int = 0
    output: int = 0


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one rule allows within `window` seconds. At least one of `tokens` and `requests` is there.

    `rule` names the counter: a new version of the policy goes on with what a rule of that name has counted. A `budget`
    begins anew at fixed times (multiples of `window` since the epoch, so a day's begins at midnight UTC); a `rate` is over
    the last `window` seconds at any time. `per`: one counter for the pod, or one for each model. `counts`: which tokens.
    """

    rule: str
    kind: Literal["budget", "rate"]
    window: int
    tokens: int | None = None
    requests: int | None = None
    counts: Literal["total", "input", "output"] = "total"
    per: Literal["pod", "model"] = "pod"


class Exhausted(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing was reserved: `allowed` of `what` are used or reserved. In `retry_after` seconds there may be room."""

    what: Literal["tokens", "requests"]
    allowed: int
    retry_after: float


class Reservation(Protocol):
    """The share of one call, held until it is settled or released, whichever comes first; what comes later does nothing."""

    @property
    def output(self) -> int | None:
        """The most tokens that the answer may have: what was asked for or what there was, None without such a limit."""
        ...

    def settle(self, used: Tokens) -> None:
        """Count what was used in the place of what was reserved."""
        ...

    def release(self) -> None:
        """Give all of it back, the request too: the call was not sent."""
        ...


class Budgets(Protocol):
    """The counters of a pod. Called from several threads at once; never waits."""

    def reserve(self, limit: Limit, *, model: str, estimate: Tokens) -> Reservation | Exhausted:
        """Take the share of a call to `model` atomically.

        The prompt's estimate and at least one token of the answer have to be there; the answer gets as many as are left,
        `estimate.output` at most. A rate of requests counts one. An estimate whose output is 0 asks for no answer.
        """
        ...
