"""The counters of budgets and rates: `Budgets` of one pod, in memory.

One lock for all of them: taking a share is some additions, and two counters are never held at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from kube_gateway.ai.budget import Exhausted, Limit, Reservation, Tokens
from kube_gateway.ai.meters.names import countable
from kube_gateway.ai.meters.windows import Part, Window
from kube_gateway.model.ai_report import LARGEST_BUDGETS, MOST_MODELS, OTHER_MODELS, BudgetCount

_PARTS_REPORTED = 12

_Key = tuple[str, str, str, int]


class Ledger:
    """Implements `kube_gateway.ai.budget.Budgets`. `clock` tells seconds since the epoch."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[_Key, Window] = {}
        self._limits: dict[_Key, Limit] = {}
        self._models: dict[str, set[str]] = {}

    def reserve(self, limit: Limit, *, model: str, estimate: Tokens) -> Reservation | Exhausted:
        """Take the share of a call to `model`; see `Budgets`."""
        with self._lock:
            now = self._clock()
            key = self._key(limit, model)
            self._limits[key] = limit
            window = self._windows.setdefault(key, Window(limit.kind, limit.window))
            part = window.at(now)
            if limit.requests is not None and window.requests >= limit.requests:
                excess = window.requests - limit.requests + 1
                wait = window.wait_for(tokens=0, requests=excess, now=now)
                return Exhausted(what="requests", allowed=limit.requests, retry_after=wait)
            used = window.settled + window.reserved
            share = _share(limit, estimate, left=None if limit.tokens is None else limit.tokens - used)
            if share is None:
                allowed = limit.tokens or 0
                missing = used + _least(limit, estimate) - allowed
                wait = window.wait_for(tokens=missing, requests=0, now=now)
                return Exhausted(what="tokens", allowed=allowed, retry_after=wait)
            taken, output = share
            part.requests += 1
            part.reserved += taken
            return _Share(self._lock, limit, part, taken=taken, output=output)

    def restore(self, counts: Iterable[BudgetCount]) -> None:
        """Go on with what an earlier gateway, or worker, has reported; counters that have begun here are left alone."""
        with self._lock:
            for count in counts:
                if not count.parts:
                    continue
                key = (count.rule, count.model, count.kind, count.window)
                if key not in self._windows:
                    window = self._windows[key] = Window(count.kind, count.window)
                    window.restore(count.parts)
                    self._models.setdefault(count.rule, set()).add(count.model)

    def counts(self) -> tuple[BudgetCount, ...]:
        """What there is to report and to go on with: counters in which something counts, the fullest first."""
        with self._lock:
            now = self._clock()
            found = []
            for key, window in list(self._windows.items()):
                window.expire(now)
                if window.parts:
                    found.append(_count(key, window, self._limits.get(key)))
                else:
                    self._forget(key)
        found.sort(key=lambda count: count.used + count.reserved + count.made, reverse=True)
        return tuple(_within(found, LARGEST_BUDGETS))

    def _key(self, limit: Limit, model: str) -> _Key:
        if limit.per == "pod":
            return limit.rule, "", limit.kind, limit.window
        known, model = self._models.setdefault(limit.rule, set()), countable(model)
        if model not in known:
            # Applications choose names freely: those beyond some number share a counter.
            if len(known) >= MOST_MODELS:
                model = OTHER_MODELS
            known.add(model)
        return limit.rule, model, limit.kind, limit.window

    def _forget(self, key: _Key) -> None:
        del self._windows[key]
        self._limits.pop(key, None)
        self._models.get(key[0], set()).discard(key[1])


class _Share:
    """What one call has reserved of one counter."""

    def __init__(self, lock: threading.Lock, limit: Limit, part: Part, *, taken: int, output: int | None) -> None:
        self._lock = lock
        self._limit = limit
        self._part = part
        self._taken = taken
        self._over = False
        self.output = output

    def settle(self, used: Tokens) -> None:
        """Count what was used in the place of what was reserved."""
        self._end(_counted(self._limit, used) if self._limit.tokens is not None else 0, requests=0)

    def release(self) -> None:
        """Give all of it back, the request too."""
        self._end(0, requests=1)

    def _end(self, tokens: int, *, requests: int) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
            self._part.reserved -= self._taken
            self._part.settled += tokens
            self._part.requests -= requests


def _share(limit: Limit, estimate: Tokens, *, left: int | None) -> tuple[int, int | None] | None:
    """Tokens to reserve, and the most that the answer may have; None if there are too few. `left` None: not limited."""
    if left is None:
        return 0, None
    if _least(limit, estimate) > left:
        return None
    given = estimate.input if limit.counts != "output" else 0
    if limit.counts == "input" or not estimate.output:
        return given, None
    output = min(estimate.output, left - given)
    return given + output, output


def _least(limit: Limit, estimate: Tokens) -> int:
    """Tokens without which a call cannot begin."""
    given = estimate.input if limit.counts != "output" else 0
    answer = 1 if estimate.output and limit.counts != "input" else 0
    return max(given + answer, 1)


def _counted(limit: Limit, used: Tokens) -> int:
    return {"total": used.input + used.output, "input": used.input, "output": used.output}[limit.counts]


def _within(counts: Iterable[BudgetCount], most: int) -> Iterator[BudgetCount]:
    """The first of them that fit into `most` bytes of JSON."""
    for count in counts:
        most -= len(msgspec.json.encode(count)) + 1
        if most < 0:
            return
        yield count


def _count(key: _Key, window: Window, limit: Limit | None) -> BudgetCount:
    rule, model, _, seconds = key
    return BudgetCount(
        rule=rule,
        model=model,
        kind=window.kind,
        window=seconds,
        tokens=limit.tokens if limit else None,
        requests=limit.requests if limit else None,
        used=window.settled,
        reserved=window.reserved,
        made=window.requests,
        parts=window.report(_PARTS_REPORTED),
    )
