"""Processes of the product die, are replaced and are renewed, with load running."""

from __future__ import annotations

import time

import pytest

from hostile.soak import promises
from hostile.soak.driver import NAMES, Load, long_form
from hostile.soak.judging import kept

pytestmark = pytest.mark.root


def test_rotation_every_five_seconds_breaks_nothing(talk, figures):
    before = {name: talk.pods.log(name).count("certificate for") for name in NAMES}
    with Load(talk) as load:
        load.run_for(long_form(6.0, 60.0))
    rotations = sum(talk.pods.log(name).count("certificate for") - before[name] for name in NAMES)
    assert rotations >= load.seconds / 5
    kept(load, promises.ROTATION, figures, rotations=rotations)


def test_a_worker_that_is_killed_breaks_what_it_carried_and_nothing_else(talk, figures):
    killed = []
    with Load(talk) as load:
        end = time.monotonic() + long_form(5.0, 60.0)
        while time.monotonic() < end:
            for name in NAMES:
                killed.append(time.monotonic())
                talk.pods.kill_gateway(name, "worker")
                load.run_for(2.0)
    kept(load, promises.WORKER_KILLED, figures, moments=killed, killed=len(killed))


def test_a_hand_over_to_a_newer_gateway_breaks_nothing(talk, figures):
    taken = 0
    with Load(talk) as load:
        end = time.monotonic() + long_form(4.0, 60.0)
        while time.monotonic() < end:
            # A fourth that still has connections of this load would be waited for.
            for name in NAMES[: 2 if taken < 6 else 0]:
                talk.pods.upgrade(name)
                taken += 1
            load.run_for(1.5)
    kept(load, promises.HAND_OVER, figures, taken_over=taken)


def test_a_watcher_that_is_killed_and_started_again_breaks_nothing(talk, figures):
    killed = 0
    with Load(talk) as load:
        end = time.monotonic() + long_form(4.0, 60.0)
        while time.monotonic() < end:
            talk.pods.kill_manager()
            killed += 1
            load.run_for(1.0)
            talk.pods.up(certificate_life=10.0)
            load.run_for(1.0)
    kept(load, promises.WATCHER_KILLED, figures, killed=killed)
    for name in NAMES:
        assert talk.pods.client.wait_settled(name, timeout=20).gateway == "ready"
