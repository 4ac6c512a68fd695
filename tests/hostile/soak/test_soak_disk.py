"""The disk with the state and the logs is full, with load running."""

from __future__ import annotations

import contextlib
import time

import pytest

from hostile.soak import faults, promises
from hostile.soak.driver import NAMES, Load, long_form
from hostile.soak.judging import kept
from kube_gateway.errors import LocalModeError
from kube_gateway.local.store import load_all

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def talk(talking_pods):
    with contextlib.ExitStack() as stack:
        # Unmounted after the instance has gone.
        disk = stack.enter_context(contextlib.ExitStack())
        small = talking_pods(
            before=lambda instance: disk.enter_context(faults.small_disk(instance.directory, size="4m"))
        )
        yield stack.enter_context(small)


def test_a_full_disk_breaks_nothing_and_what_cannot_be_written_down_is_not_done(talk, figures):
    pods, directory = talk.pods, talk.pods.instance.directory
    before = {record.name: record.generation for record in load_all(pods.instance)}
    refused = 0
    with Load(talk) as load:
        with faults.full_disk(directory):
            load.run_for(long_form(4.0, 60.0))
            for order in (
                lambda: pods.annotate("left", exclude_ports="7777"),
                lambda: pods.upgrade("left"),
                lambda: pods.run("third", "sleep", "infinity"),
            ):
                with pytest.raises(LocalModeError, match="No space left on device") as raised:
                    order()
                assert raised.value.hint
                refused += 1
            # What was refused has not been done by halves.
            assert pods.pod("left").gateway == "ready"
            assert "kube-gateway.io/exclude-ports" not in pods.pod("left").annotations
            assert [pod.name for pod in pods.client.pods()] == list(NAMES)
        for name in NAMES:
            assert pods.client.wait_settled(name, timeout=20).generation == before[name]
        # With room again everything is done as ever.
        pods.annotate("left", exclude_ports="7777")
        assert pods.upgrade("left").generation == before["left"] + 1
        load.run_for(1.0)
    kept(load.seen, promises.FULL_DISK, figures, refused_orders=refused)


def test_a_gateway_that_dies_while_the_disk_is_full_has_a_successor_once_there_is_room(talk):
    pods = talk.pods
    generation = pods.pod("left").generation
    with faults.full_disk(pods.instance.directory):
        talk.kill("left")
        pods.wait_gateway("left", "failed")
        # Time for tries to start another.
        time.sleep(2.0)
        assert pods.pod("left").generation == generation
        pods.wait_gateway("left", "failed")
    pods.wait_gateway("left", "ready")
    assert pods.client.wait_settled("left", timeout=20).generation == generation + 1
