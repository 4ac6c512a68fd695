"""What dies or lies during a hand-over, and that the pod does not notice that either."""

from __future__ import annotations

import sys
import time

import pytest

from enrolment.test_enrolment import Knocker, two_pods
from failures.test_killed import connect
from handover.scenes import MARKER, check, ended, freeze_when, thaw, traffic

pytestmark = pytest.mark.root

# Takes every name that a gateway could have, or connects to those that there are, as fast as it can.
SQUATTER = """
import socket, time
held = []
for number in range(20):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(b"\\0kube-gateway-%016x" % number); s.listen(8)
    held.append(s)
print("ready", flush=True); time.sleep(99)
"""
FLOOD = """
import os, socket, time
print("ready", flush=True)
held = []
while True:
    for line in open("/proc/self/net/unix", "rb").read().splitlines():
        if b"@kube-gateway-" not in line: continue
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.setblocking(False)
        try:
            s.connect(b"\\0" + line.partition(b"@")[2]); s.send(os.urandom(100))
        except OSError: s.close(); continue
        held.append(s)
    if len(held) > 500: held.pop(0).close()
    time.sleep(0.001)
"""


@pytest.fixture
def pods(instance):
    """Two enrolled pods, each with the echo server."""
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="true")
    return instance


def test_a_newer_gateway_that_dies_in_the_middle_changes_nothing(pods):
    with pods.capture("left") as wire:
        with traffic(pods) as (streams, knockers):
            pods.client.upgrade("left")
            freeze_when(pods, "left", "gateway-2", "handing over to generation 2")
            pods.stop_manager()
            time.sleep(0.5)
            assert "taken over" not in pods.log("left")
            pods.kill_gateway("left", cgroup="gateway-2")
            thaw(pods, "left", "gateway-2")
            pods.wait_log("left", "generation 2 has not taken over")
            time.sleep(1)
            # The manager wants a newer one still, and the next one gets it.
            pods.continue_manager()
            pods.wait_log("left", "ready: generation 3 of default/left")
            time.sleep(0.5)
        check(streams, knockers)
        ended(pods, "left", 1)
    assert not wire.seen(MARKER.encode())
    assert set(wire.ports()) == {18443}


def test_an_older_gateway_leaves_though_the_newer_one_died_before_it_took_over(pods):
    pods.client.upgrade("left")
    freeze_when(pods, "left", "gateway-2", "handing over to generation 2")
    # Nobody sees it die, and the annotation is gone before the next manager looks.
    pods.kill_manager()
    pods.kill_gateway("left", cgroup="gateway-2")
    thaw(pods, "left", "gateway-2")
    pods.wait_log("left", "generation 2 has not taken over")
    pods.forget_annotations("left")
    pods.up()
    pods.wait_log("left", "supervisor: left")
    assert pods.client.wait_settled("left", timeout=20).gateway in {"none", "failed"}
    assert pods.hooks("left") == 0
    assert connect(pods) == "True"


def test_an_older_gateway_that_dies_in_the_middle_does_not_stop_the_newer_one(pods):
    with Knocker(pods, "left", "right", MARKER) as out:
        pods.client.upgrade("left")
        freeze_when(pods, "left", "gateway-2", "taking over from generation 1")
        assert "taken over" not in pods.log("left")
        pods.kill_gateway("left")
        thaw(pods, "left", "gateway-2")
        pods.wait_log("left", "generation 1 has died in the middle of the hand-over")
        assert pods.client.wait_settled("left", timeout=20).generation == 2
        time.sleep(0.5)
    # The connection that the older one carried is broken off; none is refused, none waits too long.
    assert len(out.errors) <= 1
    assert all("ConnectionReset" in error or "not echoed" in error for error in out.errors), out.errors
    assert connect(pods) == connect(pods, "right", "left") == "True"
    assert pods.hooks("left") == 10


@pytest.mark.parametrize("program", [SQUATTER, FLOOD], ids=["squats", "floods"])
def test_a_hostile_application_neither_stops_the_gateway_nor_the_next_one(pods, program):
    hostile = pods.start("left", sys.executable, "-c", program)
    try:
        assert hostile.stdout.readline() == "ready\n"
        with traffic(pods) as (streams, knockers):
            time.sleep(1)
            assert pods.upgrade("left").generation == 2
            time.sleep(1)
        check(streams, knockers)
        pods.wait_log("left", "taken over from generation 1")
        ended(pods, "left", 1)
    finally:
        hostile.kill()
        hostile.communicate()
    # Once a gateway.
    assert pods.log("left").count("wants a hand-over and is no gateway of it") <= 2


def test_without_an_older_gateway_a_later_generation_starts_as_the_first_does(pods):
    pods.kill_gateway("left")
    assert pods.client.wait_settled("left", timeout=20).generation == 2 or pods.pod("left").gateway == "ready"
    pods.wait_log("left", "there is no older gateway to take over from")
    pods.wait_log("left", "ready: generation 2 of default/left")
    assert connect(pods) == "True"


def test_an_upgrade_without_a_gateway_is_refused(instance):
    instance.run("one", "sleep", "60")
    with pytest.raises(Exception, match="one has no gateway that is ready"):
        instance.client.upgrade("one")
