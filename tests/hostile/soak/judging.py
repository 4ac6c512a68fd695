"""Whether a promise was kept."""

from __future__ import annotations

from collections.abc import Sequence

from hostile.soak.accounting import Interval
from hostile.soak.driver import PORT, Seen
from hostile.soak.promises import Promise


def kept(seen: Seen, promise: Promise, figures, *, faults: Sequence[Interval] = (), **numbers: float) -> None:
    """Fail unless the promise was kept, and note the figures.

    What broke must have stood in one of the intervals of `faults`, which are empty for a fault that may break nothing.
    """
    found = seen.account
    assert found.defects == (), found.summary()
    unexplained = found.unexplained(faults)
    assert unexplained == [], "\n".join([found.summary(), str(faults), *map(str, unexplained)])
    # Others may be there where a wire corrupts numbers of ports.
    assert promise.in_clear or PORT not in seen.ports, seen.ports
    assert 18443 in seen.ports
    # Otherwise nothing was tried; of long streams that broke none is dialled again.
    assert len(found.connections) > 8 * seen.seconds
    assert found.received > 100_000 * seen.seconds, found.received
    assert found.slowest_first() < promise.first_byte, found.slowest_first()
    figures(
        promise.claim,
        **numbers,
        seconds=round(seen.seconds),
        connections=len(found.connections),
        broken=len(found.broken),
        megabytes=round(found.received / 1e6, 1),
        bytes_lost=found.lost,
        slowest_first_byte_ms=round(found.slowest_first() * 1e3),
        longest_stall_ms=round(found.longest_stall * 1e3),
    )
