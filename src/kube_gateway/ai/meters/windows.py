"""Two ways to count over time: a budget that begins anew at fixed times, and a rate over the last seconds at any time.

Both are rows of parts. What a call takes stays in the part in which it was taken, however long the call lasts, so a part
can be dropped as a whole when its time is over.
"""

from __future__ import annotations

from typing import Literal

from kube_gateway.model.ai_report import BudgetPart

_PARTS = 60
"""Of a rate's window. A part counts until all of it is out of the window, so a rate is never exceeded, and at most a
sixtieth of the window late to recover."""


class Part:
    """Tokens settled and reserved, and requests, that began from `start` on (seconds since the epoch)."""

    __slots__ = ("requests", "reserved", "settled", "start")

    def __init__(self, start: float) -> None:
        self.start = start
        self.settled = 0
        self.reserved = 0
        self.requests = 0

    @property
    def tokens(self) -> int:
        """Settled and reserved."""
        return self.settled + self.reserved


class Window:
    """`seconds` long. Times go forward; when the clock is set back, what was counted in its future still counts."""

    def __init__(self, kind: Literal["budget", "rate"], seconds: int) -> None:
        self.kind = kind
        self.seconds = seconds
        self._step = seconds if kind == "budget" else seconds / _PARTS
        self.parts: list[Part] = []

    def at(self, now: float) -> Part:
        """The part for what begins now; parts whose time is over are gone."""
        self.expire(now)
        start = now - now % self._step
        if not self.parts or self.parts[-1].start < start:
            self.parts.append(Part(start))
        return self.parts[-1]

    def expire(self, now: float) -> None:
        """Forget what does not count any more."""
        while self.parts and self._ends(self.parts[0]) <= now:
            del self.parts[0]

    @property
    def settled(self) -> int:
        """Tokens used."""
        return sum(part.settled for part in self.parts)

    @property
    def reserved(self) -> int:
        """Tokens that calls which run may still use."""
        return sum(part.reserved for part in self.parts)

    @property
    def requests(self) -> int:
        """Requests made."""
        return sum(part.requests for part in self.parts)

    def wait_for(self, *, tokens: int, requests: int, now: float) -> float:
        """Seconds until so many tokens and requests have ceased to count, if nothing is added."""
        for part in self.parts:
            tokens, requests = tokens - part.tokens, requests - part.requests
            if tokens <= 0 and requests <= 0:
                return max(self._ends(part) - now, 0.0)
        return float(self.seconds)

    def report(self, most: int) -> tuple[BudgetPart, ...]:
        """What counts, in at most `most` parts; neighbours become one, which counts as long as the later of them."""
        together = -(-len(self.parts) // most)
        groups = [self.parts[first : first + together] for first in range(0, len(self.parts), together or 1)]
        return tuple(
            BudgetPart(
                start=group[-1].start,
                tokens=sum(part.tokens for part in group),
                requests=sum(part.requests for part in group),
            )
            for group in groups
        )

    def restore(self, parts: tuple[BudgetPart, ...]) -> None:
        """Begin with what an earlier one has reported. What was reserved counts as used: nobody can settle it any more."""
        for told in parts:
            part = Part(told.start)
            part.settled, part.requests = told.tokens, told.requests
            self.parts.append(part)

    def _ends(self, part: Part) -> float:
        return part.start + self._step + (0 if self.kind == "budget" else self.seconds)
