"""The clock of the node is set, with load running. Certificates live for an hour, so none is valid after that."""

from __future__ import annotations

import time

import pytest

from hostile.soak import promises
from hostile.soak.clock import Clock
from hostile.soak.driver import NAMES, Load, long_form
from hostile.soak.judging import kept

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

HOUR = 3600
# Each gateway looks at the clock each second, and then has a certificate issued.
RENEWED_WITHIN = 4.0
# What had begun just before may not have had its session yet.
SOON = 0.2


def test_a_clock_that_jumps_by_an_hour_breaks_nothing_that_stands(talking_pods, tmp_path, figures):
    clock = Clock(tmp_path)
    with clock.in_force(), talking_pods(certificate_life=float(HOUR)) as talk:
        load, jumps = _jump_there_and_back(talk, clock)
        for name in NAMES:
            for change in (f"+{HOUR + 60}", f"-{HOUR + 60}"):
                talk.pods.wait_log(name, f"the clock was set by {change} s")
    # What stood goes on; what began within seconds may have been refused.
    refused = [connection.client.opened for connection in load.seen.account.broken]
    since = [opened - max(jump for jump in jumps if jump <= opened + SOON) for opened in refused]
    assert all(-SOON < seconds < RENEWED_WITHIN for seconds in since), since
    numbers = {"jumps": len(jumps), "refused_for_ms": round(max(since, default=0) * 1e3)}
    kept(load.seen, promises.CLOCK, figures, faults=[(jump, jump + RENEWED_WITHIN) for jump in jumps], **numbers)


def test_a_clock_of_one_node_alone_makes_its_pods_refused_until_it_is_right_again(talking_pods, tmp_path, figures):
    clock = Clock(tmp_path, within="/pods/right/")
    with clock.in_force(), talking_pods(certificate_life=float(HOUR)) as talk:
        load, (began, ended) = _jump_there_and_back(talk, clock)
    refused = [connection.client.opened for connection in load.seen.account.broken]
    assert len(refused) > 10
    # What had begun before stands, and what began after is let in again.
    assert min(refused) > began - SOON
    assert max(refused) < ended + RENEWED_WITHIN
    numbers = {"off_for_s": round(ended - began), "refused_after_ms": max(0, round((max(refused) - ended) * 1e3))}
    kept(load.seen, promises.CLOCKS_APART, figures, faults=[(began, ended + RENEWED_WITHIN)], **numbers)


def _jump_there_and_back(talk, clock) -> tuple[Load, list[float]]:
    """Set the clock an hour ahead, and right again; returns when that was."""
    jumps = []
    with Load(talk) as load:
        for ahead in (HOUR + 60, 0):
            jumps.append(time.monotonic())
            clock.ahead(ahead)
            load.run_for(long_form(3.0, 60.0))
    return load, jumps
