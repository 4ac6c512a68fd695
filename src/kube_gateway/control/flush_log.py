"""What a watcher remembers of the connections that it had ended, so that it does not end too many at once."""

from __future__ import annotations

from collections import deque

from kube_gateway.control.actions import Flush
from kube_gateway.control.observed import Ended
from kube_gateway.control.pace import REMEMBERED, ends_of


class FlushLog:
    """Of one watcher. Times are in seconds on its clock, whichever that is."""

    def __init__(self) -> None:
        self._ended: deque[Ended] = deque()

    def record(self, action: Flush, *, now: float) -> None:
        """These are ended."""
        self._ended.extend(Ended(ends=ends_of(connection), at=now) for connection in action.connections)

    def lately(self, now: float) -> tuple[Ended, ...]:
        """Those that still count."""
        while self._ended and not abs(now - self._ended[0].at) < REMEMBERED:
            self._ended.popleft()
        return tuple(self._ended)
