"""Whether the wall clock was set. Certificates go by it, and sleeping does not: who waits for half an hour would not notice
that an hour is over, or that the certificate is not valid yet."""

from __future__ import annotations

import time

_TOLERATED = 2.0
"""Seconds: what is less is corrected by running slower or faster (adjtimex(2)), or does not matter to a certificate."""


class WallClock:
    """Compares it with the clock that nobody sets; a machine that was suspended counts as one whose clock was set."""

    def __init__(self) -> None:
        self._apart = time.time() - time.monotonic()

    def set_by(self) -> float:
        """Seconds that it was set by since this was asked last, negative for back; 0 if it was not."""
        before, self._apart = self._apart, time.time() - time.monotonic()
        change = self._apart - before
        return change if abs(change) > _TOLERATED else 0.0
