"""Processes of the product die, are replaced and are renewed, with load running."""

from __future__ import annotations

import time

import pytest

from hostile.length import amount
from hostile.soak import faults, promises
from hostile.soak.driver import NAMES, Load, long_form
from hostile.soak.judging import kept

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

# From the order to kill until everybody has noticed: what begins in between may still meet the one that dies.
MOMENT = 0.25
NEXT_WITHIN = 6.0
# Of generations that die one after the other, each waits longer than the one before, and peers try for eight seconds only.
FEW = 4


def test_rotation_every_five_seconds_breaks_nothing(talk, figures):
    before = {name: talk.pods.log(name).count("certificate for") for name in NAMES}
    with Load(talk) as load:
        load.run_for(long_form(5.0, 120.0))
    rotations = sum(talk.pods.log(name).count("certificate for") - before[name] for name in NAMES)
    assert rotations >= load.seen.seconds / 5
    kept(load.seen, promises.ROTATION, figures, rotations=rotations)


def test_a_worker_that_is_killed_breaks_what_it_carried_and_nothing_else(talk, figures):
    killed = []
    with Load(talk) as load:
        end = time.monotonic() + long_form(3.0, 60.0)
        while time.monotonic() < end:
            for name in NAMES:
                began = time.monotonic()
                talk.kill(name, "worker")
                killed.append((began, time.monotonic() + MOMENT))
                # In full so long that a worker counts as one that works: otherwise the next has to wait, and what waits for
                # it meets the next death too.
                load.run_for(amount(full=6.0, short=1.5))
    kept(load.seen, promises.WORKER_KILLED, figures, faults=killed, killed=len(killed))


def test_a_hand_over_to_a_newer_gateway_breaks_nothing(talk, figures):
    # Four at most have connections at once, and the long streams stay where they are.
    rounds = amount(full=3, short=1)
    with Load(talk) as load:
        for _ in range(rounds):
            for name in NAMES:
                talk.pods.upgrade(name)
                load.run_for(amount(full=5.0, short=0.7))
    kept(load.seen, promises.HAND_OVER, figures, taken_over=rounds * len(NAMES))


def test_a_hand_over_on_a_long_wire_breaks_nothing_that_is_under_way(talk, figures):
    """The older gateway says that it takes no further streams while the next one is already on its way to it."""
    rounds = amount(full=4, short=2)
    # Loses nothing, and is as long as one between two regions.
    long_wire = faults.bad_wire(talk.pods, "right", delay=0.06, jitter=0.0, loss=0.0, repeat=0.0, corrupt=0.0)
    with long_wire, Load(talk, long=0, idle=0, short_per_second=60) as load:
        for _ in range(rounds):
            for name in NAMES:
                talk.pods.upgrade(name)
                load.run_for(0.7)
    kept(load.seen, promises.HAND_OVER, figures, taken_over=rounds * len(NAMES), delay_ms=60)


def test_a_watcher_that_is_killed_and_started_again_breaks_nothing(talk, figures):
    killed = 0
    with Load(talk) as load:
        end = time.monotonic() + long_form(2.0, 60.0)
        while time.monotonic() < end:
            talk.pods.kill_manager()
            killed += 1
            load.run_for(1.0)
            talk.pods.up(certificate_life=10.0)
            # A watcher that is never found is one that is away, and certificates live for ten seconds here.
            for name in NAMES:
                talk.pods.client.wait_settled(name, timeout=20)
            load.run_for(1.0)
    kept(load.seen, promises.WATCHER_KILLED, figures, killed=killed)
    for name in NAMES:
        assert talk.pods.client.wait_settled(name, timeout=20).gateway == "ready"


def test_a_gateway_of_a_permissive_pod_that_is_killed_leaves_it_in_clear_and_able_to_connect(talk, figures):
    with Load(talk) as load:
        outages = _kill_gateways(talk, load, rounds=amount(full=FEW, short=1))
    killed = [(began, over) for began, over, _ in outages]
    kept(load.seen, promises.GATEWAY_KILLED, figures, faults=killed, killed=len(killed), outage_ms=_longest(outages))


def test_a_gateway_of_a_strict_pod_that_is_killed_lets_nothing_out_in_clear(talking_pods, figures):
    with talking_pods(encrypt="strict") as talk, Load(talk) as load:
        outages = _kill_gateways(talk, load, rounds=amount(full=FEW, short=1))
    assert any(connection.refused for connection in load.seen.account.connections)
    numbers = {"killed": len(outages), "outage_ms": _longest(outages)}
    kept(
        load.seen,
        promises.GATEWAY_KILLED_STRICT,
        figures,
        faults=[(began, ended) for began, _, ended in outages],
        **numbers,
    )


def _kill_gateways(talk, load, *, rounds) -> list[tuple[float, float, float]]:
    """Kill the gateway of `left` again and again; returns when, when every connection that it carried is gone, and when
    the next one is ready."""
    outages = []
    for _ in range(rounds):
        generation = talk.pods.pod("left").generation
        began = time.monotonic()
        talk.kill("left")
        over = time.monotonic() + MOMENT
        while talk.pods.client.wait_settled("left", timeout=20).generation == generation:
            assert time.monotonic() - began < NEXT_WITHIN, talk.pods.log("left")
            time.sleep(0.01)
        outages.append((began, over, time.monotonic()))
        load.run_for(2.0)
    return outages


def _longest(outages) -> int:
    return round(max(ended - began for began, _, ended in outages) * 1e3)
