"""How many connections are ended at a time.

A database whose clients all connect anew at once is no better off than one that was restarted. So there is a limit for each
address, whichever end a connection is ended from, and one for each two that have connections with each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from kube_gateway.control.observed import Ended
from kube_gateway.model.flow import ClearConnection

MOST_A_SECOND = 20
"""Connections that are ended in a second at any one address, whoever ends them and whichever end it is."""

PART_OF_A_PEER = 10
"""One in so many of those that two addresses have with each other is ended in a second, but one at least."""

REMEMBERED = 5.0
"""Seconds for which an ended connection counts as such, although reports that are under way still have it."""


class Allowance:
    """How many connections may still be ended at `now`, after those `ended` lately; what is taken counts."""

    def __init__(self, ended: Iterable[Ended], *, now: float) -> None:
        self._ends = {each.ends for each in ended if abs(now - each.at) < REMEMBERED}
        of_this_second = [each.ends for each in ended if abs(now - each.at) < 1.0]
        self._at_address = Counter(address for ends in of_this_second for address, _ in ends)
        self._between = Counter(_addresses(ends) for ends in of_this_second)

    def take(self, connections: Iterable[ClearConnection]) -> tuple[ClearConnection, ...]:
        """Those of a pod's connections that have their turn: the idlest first, as it is missed least."""
        standing = [each for each in connections if ends_of(each) not in self._ends]
        # Those of this second were among them when it began.
        with_peer = self._between + Counter(_addresses(ends_of(each)) for each in standing)
        standing.sort(key=lambda each: (-each.idle, each.cookie))
        return tuple(each for each in standing if self._take(ends_of(each), with_peer))

    def _take(self, ends: frozenset[tuple[str, int]], with_peer: Counter[frozenset[str]]) -> bool:
        pair = _addresses(ends)
        most = max(with_peer[pair] // PART_OF_A_PEER, 1)
        if self._between[pair] >= most or any(self._at_address[address] >= MOST_A_SECOND for address in pair):
            return False
        self._ends.add(ends)
        self._between[pair] += 1
        self._at_address.update(pair)
        return True


def seconds_needed(connections: Iterable[ClearConnection]) -> int:
    """About how long it takes until all of a pod's connections had their turn, if no other pod's are ended meanwhile."""
    left, seconds = tuple(connections), 0
    while left:
        taken = {each.cookie for each in Allowance((), now=0.0).take(left)}
        left = tuple(each for each in left if each.cookie not in taken)
        seconds += 1
    return seconds


def ends_of(connection: ClearConnection) -> frozenset[tuple[str, int]]:
    """Both ends, the same seen from either."""
    return frozenset(
        (
            (connection.local_address, connection.local_port),
            (connection.remote_address, connection.remote_port),
        )
    )


def _addresses(ends: frozenset[tuple[str, int]]) -> frozenset[str]:
    return frozenset(address for address, _ in ends)
