"""Faults of all kinds in no order, on a bad wire, while certificates are replaced all the time."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from hostile.length import amount
from hostile.soak import faults, promises
from hostile.soak.driver import NAMES, Load, together
from hostile.soak.judging import kept

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]

SEED = 20_261
# What a fault breaks may be noticed when its packets get through.
AFTER = 1.0


class Faults:
    """Injects one fault after the other; `breaking` has when those happened that may break something."""

    def __init__(self, talk) -> None:
        self._talk = talk
        self._chance = random.Random(SEED)
        self.breaking: list[tuple[float, float]] = []
        self.done = Counter[str]()

    def one_of_each(self, load) -> None:
        kinds = [self.kill_worker, self.hand_over, self.restart_watcher, self.starve, self.take_descriptors]
        self._chance.shuffle(kinds)
        for kind in kinds:
            kind(self._chance.choice(NAMES))
            self.done[kind.__name__] += 1
            load.run_for(0.5)

    def kill_worker(self, name) -> None:
        began = time.monotonic()
        self._talk.kill(name, "worker")
        self.breaking.append((began, time.monotonic() + AFTER))

    def hand_over(self, name) -> None:
        self._talk.pods.upgrade(name)

    def restart_watcher(self, _name) -> None:
        self._talk.pods.kill_manager()
        time.sleep(0.5)
        self._talk.pods.up(certificate_life=10.0)
        for name in NAMES:
            self._talk.pods.client.wait_settled(name, timeout=20)

    def starve(self, name) -> None:
        with faults.starved(list(self._talk.processes(name).values())):
            time.sleep(1.0)

    def take_descriptors(self, name) -> None:
        began = time.monotonic()
        with faults.out_of_descriptors(self._talk.processes(name)["worker"]):
            time.sleep(1.0)
        self.breaking.append((began, time.monotonic() + AFTER))


def test_faults_of_all_kinds_one_after_the_other_lose_only_what_is_named(talk, figures):
    injected, seen, packets_lost = Faults(talk), [], 0
    # A load of its own for each round: streams that never end would keep every older gateway, of which there may be four.
    for _ in range(amount(full=20, short=1)):
        with Load(talk) as load:
            with faults.bad_wire(talk.pods, "right", delay=0.002, jitter=0.002, loss=0.005) as done:
                injected.one_of_each(load)
            load.run_for(1.0)
        packets_lost += done["lost"]
        seen.append(load.seen)
    assert packets_lost > 0
    kept(
        together(seen),
        promises.EVERYTHING,
        figures,
        faults=injected.breaking,
        **injected.done,
        packets_lost=packets_lost,
    )
