"""A newer gateway takes over from an older one, and nobody notices."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from enrolment.test_enrolment import Knocker, two_pods
from failures.test_killed import connect
from handover.scenes import MARKER, Stream, check, ended, traffic
from kube_gateway.local import cgroups

pytestmark = pytest.mark.root


class Container:
    """A process as it is inside its container. Source: proc(5), /proc/PID/status."""

    def __init__(self, pid):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        own, *inner = status["NSpid"].split()
        self.pid_inside = int(inner[-1]) if inner else int(own)
        self.capabilities = int(status["CapEff"], 16)


@pytest.fixture
def pods(instance):
    """Two enrolled pods, each with the echo server."""
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="true")
    return instance


@pytest.mark.parametrize("mode", ["true", "strict"])
def test_no_connection_fails_no_byte_is_lost_and_nothing_is_in_clear(pods, mode):
    for name in ("left", "right"):
        pods.annotate(name, encrypt=mode)
    with pods.capture("left") as wire:
        with traffic(pods) as (streams, knockers):
            time.sleep(0.5)
            for name, generation in (("left", 2), ("right", 2), ("left", 3)):
                assert pods.upgrade(name).generation == generation
                time.sleep(0.7)
            # The older ones keep the streams.
            assert set(pods.gateway_processes("left")) == {"supervisor", "worker"}
            assert set(pods.gateway_processes("right")) == {"supervisor", "worker"}
        check(streams, knockers)
        ended(pods, "left", 1)
        ended(pods, "left", 2)
        ended(pods, "right", 1)
    assert not wire.seen(MARKER.encode())
    assert set(wire.ports()) == {18443}
    assert pods.hooks("left") == pods.hooks("right") == 10
    assert connect(pods) == connect(pods, "right", "left") == "True"
    pods.wait_log("left", "taken over from generation 2")


def test_it_is_done_again_and_again_with_the_cgroups_of_those_that_ended_gone(pods):
    with Knocker(pods, "left", "right", MARKER) as out, Knocker(pods, "right", "left", MARKER) as into:
        for generation in (2, 3, 4):
            cgroup = next(
                found
                for found in cgroups.gateway_cgroups(cgroups.pod_cgroup(pods.instance, "left"))
                if cgroups.members(found)
            )
            assert pods.upgrade("left").generation == generation
            ended(pods, "left", generation - 1)
            cgroup.rmdir()
            time.sleep(0.3)
    assert out.errors == into.errors == []
    assert connect(pods) == connect(pods, "right", "left") == "True"
    assert pods.hooks("left") == 10


def test_connections_of_an_older_gateway_are_not_taken_for_connections_in_clear(pods):
    # With netflush they would be ended.
    pods.annotate("left", netflush="true")
    pods.annotate("right", netflush="true")
    with traffic(pods) as (streams, knockers):
        time.sleep(0.3)
        pods.upgrade("left")
        pods.upgrade("right")
        time.sleep(2.5)
        assert pods.report("left").clear_connections == pods.report("right").clear_connections == ()
    check(streams, knockers)


def test_an_older_gateway_does_not_hide_that_the_newer_one_hangs(pods):
    pods.annotate("left", encrypt="strict")
    with Stream(pods, "left", "right") as stream:
        pods.upgrade("left")
        assert connect(pods) == "True"
        pods.stop_manager()
        os.kill(pods.gateway_processes("left", "gateway-2")["worker"], signal.SIGSTOP)
        time.sleep(6)
        assert connect(pods) == "ECONNREFUSED"
        os.kill(pods.gateway_processes("left", "gateway-2")["worker"], signal.SIGCONT)
        deadline = time.monotonic() + 10
        while (found := connect(pods)) != "True":
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        pods.continue_manager()
    assert stream.result["whole"]


def test_what_is_known_of_peers_is_handed_over(pods):
    assert connect(pods) == "True"
    right = pods.address("right")
    pods.wait_peer("left", right, "enrolled")
    pods.upgrade("left")
    pods.wait_peer("left", right, "enrolled")


def test_a_pod_leaves_after_a_hand_over_as_it_would_have_before(pods):
    pods.upgrade("left")
    with Knocker(pods, "left", "right", "x") as knocker:
        time.sleep(0.3)
        assert pods.annotate("left", remove=["encrypt"]).gateway == "none"
        time.sleep(0.3)
    assert knocker.errors == []
    assert pods.hooks("left") == 0
    ended(pods, "left", 1)


def test_a_manager_that_is_started_again_knows_both(pods):
    with traffic(pods) as (streams, knockers):
        pods.upgrade("left")
        pods.kill_manager()
        pods.up()
        assert pods.client.wait_settled("left", timeout=20).generation == 2
        time.sleep(1.5)
    check(streams, knockers)
    deadline = time.monotonic() + 15
    while pods.gateway_processes("left"):
        assert time.monotonic() < deadline, pods.log("left")
        time.sleep(0.1)
    assert pods.client.wait_settled("left", timeout=20).generation == 2


def test_it_works_between_containers_with_three_capabilities(containers):
    two_pods(containers)
    for name in ("left", "right"):
        containers.annotate(name, encrypt="strict")
    with traffic(containers) as (streams, knockers):
        time.sleep(0.3)
        for name, generation in (("left", 2), ("right", 2), ("left", 3)):
            assert containers.upgrade(name).generation == generation
            time.sleep(0.5)
        found = cgroups.gateway_cgroups(cgroups.pod_cgroup(containers.instance, "left"))
        processes = [process for cgroup in found for process in map(Container, cgroups.members(cgroup))]
        inside = [process for process in processes if process.pid_inside == 1]
        assert len(inside) == 3
        # CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_BPF.
        assert {process.capabilities for process in inside} == {1 << 2 | 1 << 12 | 1 << 39}
    check(streams, knockers)
    ended(containers, "left", 1)
    ended(containers, "left", 2)


def test_an_older_gateway_keeps_its_streams_longer_than_its_certificate_lives(short_lived, containers_from_now_on):
    two_pods(short_lived)
    short_lived.annotate("right", encrypt="true")
    with containers_from_now_on(short_lived):
        short_lived.annotate("left", encrypt="true")
        with Stream(short_lived, "left", "right") as stream:
            short_lived.upgrade("left")
            # From now on nobody renews anything: the newer one ends for that, and the older one does not.
            short_lived.kill_manager()
            short_lived.wait_log("left", "the watcher was not there to renew it", timeout=30)
            time.sleep(2)
            assert short_lived.gateway_processes("left")
        assert stream.result["error"] is None
        assert stream.result["whole"]


def test_with_maps_of_another_layout_it_works_all_the_same(pods, other_layout):
    """A version whose maps differ brings its own; what is being set up in that moment is lost, and nothing else."""
    with traffic(pods) as (streams, knockers):
        time.sleep(0.3)
        assert pods.upgrade("left").generation == 2
        time.sleep(1)
    assert all(len(knocker.errors) <= 2 for knocker in knockers), [knocker.errors for knocker in knockers]
    assert all(stream.result["whole"] for stream in streams), [stream.result for stream in streams]
    assert connect(pods) == connect(pods, "right", "left") == "True"
    assert pods.hooks("left") == 10
    pods.wait_log("left", "taken over from generation 1")
    ended(pods, "left", 1)
