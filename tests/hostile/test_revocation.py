"""A pod that is revoked is nobody's peer within seconds, though its certificate is still valid."""

from __future__ import annotations

import ast
import sys
import time

import pytest

from datapath import scripts
from kube_gateway.errors import LocalModeError

pytestmark = pytest.mark.root
PORT = 9000


@pytest.fixture
def pods(instance):
    for name in ("stolen", "victim", "bystander"):
        instance.run(name, sys.executable, "-u", "-c", scripts.server(PORT))
        instance.annotate(name, encrypt="true")
    return instance


def streams(pods, source, target, count=5):
    """Connections that stand; tells how many, and when each ended, by the clock that all processes share."""
    text = f"""
import select, socket, time
held = []
for _ in range({count}):
    s = socket.create_connection(({pods.address(target)!r}, {PORT})); f = s.makefile("rb"); f.readline(); held.append(s)
print("connected", flush=True)
ends = []
while held and time.monotonic() < {time.monotonic() + 20!r}:
    for s in select.select(held, [], [], 0.2)[0]:
        try: how = "reset" if s.recv(1) else "closed"
        except ConnectionResetError: how = "reset"
        ends.append((how, time.monotonic())); held.remove(s)
print(ends, len(held), flush=True)"""
    process = pods.start(source, sys.executable, "-c", text)
    assert process.stdout.readline() == "connected\n"
    return process


def ends_of(process):
    words, errors = process.communicate(timeout=40)
    assert words, errors
    ends, _, left = words.strip().rpartition(" ")
    return ast.literal_eval(ends), int(left)


def connects(pods, source, target):
    text = f"""
import socket
try: print("open" if socket.create_connection(({pods.address(target)!r}, {PORT}), timeout=10).recv(10) else "closed")
except ConnectionResetError: print("reset")"""
    return pods.exec(source, sys.executable, "-c", text).stdout.strip()


def wait_connects(pods, source, target, how, *, seconds=10.0):
    """Wait until that is what comes of a connection."""
    deadline = time.monotonic() + seconds
    while (found := connects(pods, source, target)) != how:
        assert time.monotonic() < deadline, f"{source} to {target}: {found}, not {how}"
        time.sleep(0.1)


def test_a_revoked_pod_loses_what_stands_within_seconds_and_gets_nothing_new(pods, figures):
    held = [streams(pods, "stolen", "victim"), streams(pods, "victim", "stolen"), streams(pods, "bystander", "victim")]
    assert connects(pods, "stolen", "victim") == "open"
    with pods.capture("victim") as wire:
        began = time.monotonic()
        (revoked,) = pods.client.revoke("stolen").revocations
        assert (revoked.pod, revoked.uid) == ("default/stolen", pods.pod("stolen").uid)
        wait_connects(pods, "stolen", "victim", "reset")
        wait_connects(pods, "victim", "stolen", "reset")
        assert connects(pods, "bystander", "victim") == "open"
    (out, left_out), (back, left_back), (others, left_others) = (ends_of(process) for process in held)
    assert [how for how, _ in (*out, *back)] == ["reset"] * 10
    assert (left_out, left_back, others, left_others) == (0, 0, [], 5)
    slowest = max(at for _, at in (*out, *back)) - began
    assert slowest < 3.0
    # Refused is not in clear.
    assert PORT not in wire.ports()
    pods.wait_log("victim", "its certificate is revoked")
    figures(
        "A revoked pod loses what stands within seconds, and gets nothing new",
        streams=10,
        ended=len(out) + len(back),
        slowest_seconds=round(slowest, 2),
        others_broken=len(others),
    )


@pytest.mark.parametrize("by", ["death of the worker", "hand-over"])
def test_a_peer_that_was_refused_is_not_spoken_to_in_clear_by_the_next_worker_or_gateway(pods, by):
    assert connects(pods, "victim", "stolen") == "open"
    pods.client.revoke("stolen")
    wait_connects(pods, "victim", "stolen", "reset")
    pods.wait_peer("victim", pods.address("stolen"), "refused")
    time.sleep(1.5)
    if by == "hand-over":
        pods.upgrade("victim")
    else:
        worker = pods.gateway_processes("victim")["worker"]
        pods.kill_gateway("victim", "worker")
        assert connects(pods, "victim", "bystander") == "open"
        assert pods.gateway_processes("victim")["worker"] != worker
    pods.stop_manager()
    pods.kill_gateway("stolen")
    with pods.capture("victim") as wire:
        assert connects(pods, "victim", "stolen") == "reset"
    assert PORT not in wire.ports()
    pods.continue_manager()


def test_a_revoked_pod_is_certified_no_more_and_stays_revoked_for_the_next_manager_and_worker(pods):
    pods.client.revoke("stolen")
    pods.kill_manager()
    pods.up()
    assert [one.pod for one in pods.client.revoke().revocations] == ["default/stolen"]
    deadline = time.monotonic() + 20
    while "is not the gateway of default/stolen" not in pods.instance.manager_log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    pods.kill_gateway("victim", "worker")
    pods.wait_gateway("victim", "ready")
    # Where nobody is, a connection is reset too.
    wait_connects(pods, "bystander", "victim", "open")
    wait_connects(pods, "stolen", "victim", "reset")
    assert connects(pods, "bystander", "victim") == "open"
    assert pods.upgrade("victim").generation == 2
    assert connects(pods, "stolen", "victim") == "reset"
    # Its gateway ends, and it gets no other.
    pods.kill_gateway("stolen")
    # Time for another to start, if one did.
    time.sleep(2.0)
    deadline = time.monotonic() + 15
    while (found := pods.pod("stolen")).gateway not in ("failed", "none") or "is revoked" not in (found.problem or ""):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_a_pod_that_is_taken_back_is_a_peer_again(pods):
    pods.client.revoke("stolen")
    wait_connects(pods, "stolen", "victim", "reset")
    assert pods.client.revoke("stolen", restore=True).revocations == ()
    wait_connects(pods, "stolen", "victim", "open", seconds=15.0)
    assert connects(pods, "victim", "stolen") == "open"
    with pytest.raises(LocalModeError, match="is revoked"):
        pods.client.revoke("stolen", restore=True)
