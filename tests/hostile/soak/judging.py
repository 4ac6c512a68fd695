"""Whether a promise was kept."""

from __future__ import annotations

from collections.abc import Sequence

from hostile.soak.driver import PORT, Load
from hostile.soak.promises import Promise


def kept(
    load: Load, promise: Promise, figures, *, moments: Sequence[float] = (), within: float = 0.0, **numbers: float
) -> None:
    """Fail unless the promise was kept, and note the figures.

    What broke must have stood at one of `moments`, or begun at most `within` seconds after.
    """
    found = load.account
    assert found.defects == (), found.summary()
    unexplained = found.unexplained(moments, within=within)
    assert unexplained == [], "\n".join([found.summary(), str(moments), *map(str, unexplained)])
    # Otherwise nothing was tried.
    assert len(found.connections) > 10 * load.seconds
    assert found.received > 500_000 * load.seconds, found.received
    if promise.in_clear:
        assert set(load.ports) <= {18443, PORT}
    else:
        assert set(load.ports) == {18443}, load.ports
    assert found.slowest_first() < promise.first_byte, found.slowest_first()
    figures(
        promise.claim,
        **numbers,
        seconds=round(load.seconds),
        connections=len(found.connections),
        broken=len(found.broken),
        megabytes=round(found.received / 1e6, 1),
        bytes_lost=found.lost,
        slowest_first_byte_ms=round(found.slowest_first() * 1e3),
        longest_stall_ms=round(found.longest_stall * 1e3),
    )
