"""What happens when a part of the product dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datapath import scripts
from enrolment.test_enrolment import PORT, Knocker, two_pods
from kube_gateway.local import cgroups, network
from kube_gateway.local.store import start_time

pytestmark = pytest.mark.root

CONNECT = """
import errno, socket
try:
    with socket.create_connection((ADDRESS, PORT), timeout=10) as s: print("accept" in s.recv(200).decode())
except OSError as error: print(errno.errorcode.get(error.errno, error))
"""


@pytest.fixture
def pods(instance):
    """Two enrolled pods, each with the echo server."""
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="true")
    return instance


def connect(pods, source="left", target="right") -> str:
    text = CONNECT.replace("ADDRESS", repr(pods.address(target))).replace("PORT", str(PORT))
    return pods.exec(source, sys.executable, "-c", text).stdout.strip()


@pytest.mark.parametrize("name", ["left", "right"])
def test_after_the_death_of_a_worker_new_connections_work_again_within_a_second(pods, name):
    assert connect(pods) == "True"
    took = []
    for _ in range(3):
        worker = pods.gateway_processes(name)["worker"]
        began = time.monotonic()
        pods.kill_gateway(name, "worker")
        assert connect(pods) == "True"
        took.append(time.monotonic() - began)
        assert pods.gateway_processes(name)["worker"] != worker
    # Each connects; the machine may be busy with something else meanwhile once or twice.
    assert min(took) < 1.0, took
    assert pods.pod(name).generation == 1
    pods.wait_log(name, "the worker ended with signal 9, starting another")


@pytest.mark.parametrize("deaths", [1, 2])
def test_the_death_of_a_worker_does_not_make_a_silent_peer_look_like_one_that_left(pods, deaths):
    assert connect(pods) == "True"
    pods.wait_peer("left", pods.address("right"), "enrolled")
    for death in range(1, deaths + 1):
        # Each as soon as it has an identity, long before it reports again.
        wait_in_use(pods, "left", death)
        pods.kill_gateway("left", "worker")
    wait_in_use(pods, "left", deaths + 1)
    pods.stop_manager()
    pods.kill_gateway("right")
    with pods.capture("left") as wire:
        assert connect(pods) == "ECONNRESET"
    assert PORT not in wire.ports()
    pods.wait_log("left", "and it has not left")
    pods.continue_manager()
    pods.client.wait_settled("right", timeout=20)
    assert connect(pods) == "True"


def wait_in_use(pods, name, times):
    """Wait until workers of a gateway have said so often that they use their identity."""
    deadline = time.monotonic() + 10
    while pods.log(name).count("is in use") < times:
        assert time.monotonic() < deadline, pods.log(name)
        time.sleep(0.01)


def test_a_sign_of_life_that_is_ahead_of_the_clock_is_one(pods):
    """The worker writes it while connect() is looked at; what comes in between must not look old."""
    assert connect(pods) == "True"
    worker = pods.gateway_processes("left")["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        number = map_of(worker, "kgw_stamp")
        ahead = (time.monotonic_ns() + 3_000_000_000).to_bytes(8, sys.byteorder)
        value = [str(byte) for byte in ahead]
        subprocess.run(["bpftool", "map", "update", "id", number, "key", *["0"] * 4, "value", *value], check=True)
        with pods.capture("left") as wire:
            text = CONNECT.replace("ADDRESS", repr(pods.address("right"))).replace("PORT", str(PORT))
            client = pods.start("left", sys.executable, "-c", text)
            time.sleep(1.0)
            os.kill(worker, signal.SIGCONT)
            assert client.communicate(timeout=20)[0].strip() == "True"
    finally:
        os.kill(worker, signal.SIGCONT)
    assert PORT not in wire.ports()


def map_of(pid, name) -> str:
    """The id of a map that a process has open."""
    told = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    numbers = {line.split()[1] for text in told for line in text.splitlines() if line.startswith("map_id:")}
    for number in numbers:
        shown = subprocess.run(["bpftool", "map", "show", "id", number, "-j"], capture_output=True, check=True)
        if json.loads(shown.stdout)["name"] == name:
            return number
    raise AssertionError(f"process {pid} has no map {name}")


def test_no_connection_is_refused_while_workers_die_again_and_again(pods):
    with Knocker(pods, "left", "right", "x") as knocker:
        for name in ("left", "right", "left", "right"):
            time.sleep(0.6)
            pods.kill_gateway(name, "worker")
        time.sleep(1.5)
    # Connections that a dying worker carried are reset; all others succeed.
    assert len(knocker.errors) <= 4, knocker.errors
    assert knocker.good > 50


def test_after_the_death_of_a_whole_gateway_a_permissive_pod_goes_on_in_clear_at_once(pods):
    pods.stop_manager()
    pods.kill_gateway("left")
    with pods.capture("left") as wire:
        # Its peer is enrolled and answers, but nobody is there to speak to it: direct is what permissive means.
        assert connect(pods) == "True"
    assert set(wire.ports()) == {PORT}
    pods.continue_manager()
    pods.client.wait_settled("left", timeout=20)
    with pods.capture("left") as wire:
        assert connect(pods) == "True"
    assert set(wire.ports()) == {18443}
    assert pods.pod("left").generation == 2


def test_after_the_death_of_a_whole_gateway_a_strict_pod_refuses(pods):
    pods.annotate("left", encrypt="strict")
    assert connect(pods) == "True"
    pods.stop_manager()
    pods.kill_gateway("left")
    assert connect(pods) == "ECONNREFUSED"
    pods.continue_manager()
    pods.client.wait_settled("left", timeout=20)
    assert connect(pods) == "True"
    # The next generation took the place of the hooks that were left, it did not add to them.
    assert pods.hooks("left") == 10


def test_a_strict_pod_that_shall_no_longer_be_enrolled_is_freed_of_hooks_that_were_left(pods):
    pods.annotate("left", encrypt="strict")
    pods.stop_manager()
    pods.kill_gateway("left")
    assert connect(pods) == "ECONNREFUSED"
    # Still stopped, the manager is killed: the annotation is gone before the next one looks.
    pods.kill_manager()
    pods.forget_annotations("left")
    pods.up()
    deadline = time.monotonic() + 10
    while pods.hooks("left"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert connect(pods) == "True"


def test_a_gateway_that_hangs_is_noticed(pods):
    pods.stop_manager()
    worker = pods.gateway_processes("left")["worker"]
    os.kill(worker, signal.SIGSTOP)
    try:
        time.sleep(6)
        assert connect(pods) == "True"
    finally:
        os.kill(worker, signal.SIGCONT)
        pods.continue_manager()


def test_a_squatter_on_the_redirect_port_gets_nothing(pods):
    pods.run("victim", sys.executable, "-u", "-c", scripts.server(18000))
    pods.wait_log("victim", "ready", container="app")
    pods.client.annotate("victim", {"kube-gateway.io/encrypt": "true"})
    pods.wait_log("victim", "port 18000 on 127.0.0.1 is taken by another process of the pod")
    assert connect(pods, source="victim") == "True"
    assert pods.pod("victim").gateway in {"failed", "starting"}


def test_sigterm_drains_and_the_watcher_starts_the_next_generation(pods):
    with Knocker(pods, "left", "right", "x") as knocker:
        time.sleep(0.3)
        os.kill(pods.gateway_processes("left")["supervisor"], signal.SIGTERM)
        pods.wait_log("left", "supervisor: left")
        time.sleep(1.5)
    assert knocker.errors == []
    assert pods.client.wait_settled("left", timeout=15).generation == 2


def test_gateways_go_on_without_a_manager_and_find_the_next_one(pods):
    pods.kill_manager()
    with Knocker(pods, "left", "right", "x") as knocker:
        time.sleep(0.5)
    assert knocker.errors == []
    before = pods.gateway_processes("left")
    pods.up()
    for name in ("left", "right"):
        assert pods.client.wait_settled(name, timeout=20).generation == 1
    assert pods.gateway_processes("left") == before
    assert pods.annotate("left", remove=["encrypt"]).gateway == "none"


def test_down_after_the_death_of_the_manager_leaves_nothing(pods):
    pods.kill_manager()
    cgroup, directory = cgroups.instance_cgroup(pods.instance), pods.instance.directory
    namespaces = [pods.instance.namespace, *map(pods.instance.pod_namespace, ("left", "right"))]
    processes = [pid for name in ("left", "right") for pid in pods.gateway_processes(name).values()]
    assert all(network.namespace_path(name).exists() for name in namespaces)
    pods.down()
    assert not cgroup.exists()
    assert not directory.exists()
    assert not any(network.namespace_path(name).exists() for name in namespaces)
    assert [pid for pid in processes if start_time(pid)] == []


def test_flushing_ends_connections_that_are_in_clear_and_no_others(instance):
    two_pods(instance)
    right = instance.address("right")
    text = f"""
import socket
def one():
    s = socket.create_connection(({right!r}, {PORT})); f = s.makefile("rb"); f.readline(); return s, f
s, f = one(); print("connected", flush=True)
try:
    while f.readline(): pass
    print("ended", flush=True)
except OSError as error: print(type(error).__name__, flush=True)
s, f = one(); s.sendall(b"again\\n"); print(f.readline().decode(), end="", flush=True); f.read()"""
    old = instance.start("left", sys.executable, "-c", text)
    try:
        assert old.stdout.readline() == "connected\n"
        instance.annotate("left", encrypt="true", netflush="true")
        instance.annotate("right", encrypt="true", netflush="idle")
        assert old.stdout.readline() == "ConnectionAbortedError\n"
        with instance.capture("left") as wire:
            assert old.stdout.readline() == "again\n"
            time.sleep(3)
            # The one that came back is encrypted, so it is left alone.
            assert old.poll() is None
        assert set(wire.ports()) <= {18443}
        assert instance.report("left").clear_connections == ()
    finally:
        old.kill()
        old.communicate()
