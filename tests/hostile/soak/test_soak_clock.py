"""The clock of the node is set, with load running. Certificates live for an hour, so none is valid after that."""

from __future__ import annotations

import time

import pytest

from hostile.soak import promises
from hostile.soak.clock import Clock
from hostile.soak.driver import NAMES, Load, long_form
from hostile.soak.judging import kept

pytestmark = pytest.mark.root

HOUR = 3600
# Each gateway looks at the clock each second, and then has a certificate issued.
RENEWED_WITHIN = 4.0
# What had begun just before may not have had its session yet.
SOON = 0.2


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def talk(clock, talking_pods):
    with clock.in_force(), talking_pods(certificate_life=float(HOUR)) as conversation:
        yield conversation


def test_a_clock_that_jumps_by_an_hour_breaks_nothing_that_stands(talk, clock, figures):
    jumps = []
    with Load(talk) as load:
        for ahead in (HOUR + 60, 0):
            jumps.append(time.monotonic())
            clock.ahead(ahead)
            load.run_for(long_form(3.0, 60.0))
    for name in NAMES:
        for change in (f"+{HOUR + 60}", f"-{HOUR + 60}"):
            talk.pods.wait_log(name, f"the clock was set by {change} s")
    # What stood goes on; what began within seconds may have been refused.
    refused = [connection.client.opened for connection in load.seen.account.broken]
    since = [opened - max(jump for jump in jumps if jump <= opened + SOON) for opened in refused]
    assert all(-SOON < seconds < RENEWED_WITHIN for seconds in since), since
    numbers = {"jumps": len(jumps), "refused_for_ms": round(max(since, default=0) * 1e3)}
    kept(load.seen, promises.CLOCK, figures, faults=[(jump, jump + RENEWED_WITHIN) for jump in jumps], **numbers)
