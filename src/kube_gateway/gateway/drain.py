"""Waiting for the connections of a worker that takes no new ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

HANDED_OVER_GRACE = 3600.0
"""Seconds that connections have to finish when a newer gateway has taken over: as when a pod leaves."""

_POLL = 0.1
_WHOLE_REPORTS = 2
"""One whole report after the drain began, so that what is still under way has been counted."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has reported: connections that have not ended, and in how many reports by now."""

    active: int = 0
    reports: int = 0


class Drain:
    """Ends with the last connection, or after `grace` seconds."""

    def __init__(self, grace: float) -> None:
        self._deadline = time.monotonic() + grace

    def shorten(self, grace: float) -> None:
        """Wait for `grace` seconds from now at most."""
        self._deadline = min(self._deadline, time.monotonic() + grace)

    async def wait(self, load: Callable[[], Load]) -> int:
        """Wait; returns how many connections there still are."""
        reports = load().reports + _WHOLE_REPORTS
        while time.monotonic() < self._deadline and not (load().reports >= reports and load().active == 0):
            await asyncio.sleep(_POLL)
        return load().active
