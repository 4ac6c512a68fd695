"""What gateways depend on fails, with load running: the wire, the disk, descriptors, the processor."""

from __future__ import annotations

import pytest

from hostile.soak import faults, promises
from hostile.soak.driver import NAMES, Load, long_form
from hostile.soak.judging import kept

pytestmark = pytest.mark.root


def test_a_bad_wire_makes_connections_slow_and_breaks_none(talk, figures):
    with Load(talk) as load:
        with faults.bad_wire(talk.pods, "right") as done:
            load.run_for(long_form(6.0, 120.0))
        load.run_for(1.0)
    assert min(done.values()) > 0, done
    kept(load, promises.WIRE, figures, **done)


def test_gateways_with_a_tenth_of_the_processor_time_are_slow_and_break_nothing(talk, figures):
    pids = [pid for name in NAMES for pid in talk.pods.gateway_processes(name).values()]
    with Load(talk) as load:
        with faults.starved(pids):
            load.run_for(long_form(6.0, 60.0))
        load.run_for(1.0)
    kept(load, promises.STARVATION, figures)
