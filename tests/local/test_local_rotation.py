"""A root is replaced on this machine while two pods talk: nothing breaks, and the old root is gone at the end."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from enrolment.test_enrolment import PORT, Knocker, two_pods
from kube_gateway.errors import LocalModeError
from kube_gateway.identity.authority import load_authority
from kube_gateway.local.authority_files import ROTATION_FILE

pytestmark = pytest.mark.root


def enrolled(instance):
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="true")


def fingerprint(instance):
    return load_authority(instance.instance.authority).fingerprint


def wait_rotated(instance, *, timeout=30.0):
    deadline = time.monotonic() + timeout
    seen = []
    while (status := instance.client.rotate("status").status).rotation is not None:
        if not seen or seen[-1] != status.rotation.stage:
            seen.append(status.rotation.stage)
        assert time.monotonic() < deadline, status
        time.sleep(0.02)
    return seen


def old_connection(instance, source, target, seconds):
    """One connection that stands all the time, with an echo every 50 ms."""
    text = f"""
import socket, time
s = socket.create_connection(({instance.address(target)!r}, {PORT})); f = s.makefile("rb"); f.readline()
print("connected", flush=True)
end = time.monotonic() + {seconds}
number = 0
while time.monotonic() < end:
    number += 1
    s.sendall(b"%d\\n" % number); assert f.readline() == b"%d\\n" % number; time.sleep(0.05)
print("whole", number)"""
    process = instance.start(source, sys.executable, "-c", text)
    assert process.stdout.readline() == "connected\n"
    return process


def test_no_connection_breaks_and_the_old_root_is_gone(instance):
    enrolled(instance)
    before = fingerprint(instance)
    old = old_connection(instance, "left", "right", 8)
    try:
        with Knocker(instance, "left", "right", "one") as one, Knocker(instance, "right", "left", "two") as two:
            time.sleep(0.5)
            status = instance.client.rotate("begin").status
            assert (status.rotation.stage, status.rotation.old) == ("introduce", before)
            wait_rotated(instance)
            time.sleep(1.5)
        words = old.communicate(timeout=30)
        assert words[0].startswith("whole "), words
    finally:
        old.kill()
    assert one.errors == two.errors == []
    assert min(one.good, two.good) > 50
    after = fingerprint(instance)
    assert after == status.rotation.new != before
    assert not (instance.instance.authority / ROTATION_FILE).exists()
    for name in ("left", "right"):
        said = instance.report(name).identity
        assert (said.issuer, said.roots) == (after, (after,))
        assert said.uid == instance.pod(name).uid


def stopped(instance, name):
    """Its supervisor does nothing until it is continued."""
    pid = instance.gateway_processes(name)["supervisor"]
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


def test_a_gateway_that_does_not_answer_is_waited_for_by_name_also_by_the_next_manager(instance):
    enrolled(instance)
    before = fingerprint(instance)
    go_on = stopped(instance, "right")
    try:
        instance.client.rotate("begin")
        deadline = time.monotonic() + 15
        # The other one trusts both soon.
        while [one.name for one in instance.client.rotate("status").status.waiting] != ["default/right"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1.5)
        waiting = instance.client.rotate("status").status
        assert waiting.rotation.stage == "introduce"
        assert [(one.name, one.why) for one in waiting.waiting] == [
            ("default/right", "it does not trust both roots yet")
        ]
        instance.kill_manager()
        instance.up()
        assert instance.client.rotate("status").status.rotation == waiting.rotation
        time.sleep(1.5)
        assert instance.client.rotate("status").status.rotation == waiting.rotation
        assert fingerprint(instance) == before
        with pytest.raises(LocalModeError, match="a rotation is under way already"):
            instance.client.rotate("begin")
    finally:
        go_on()
    wait_rotated(instance)
    assert fingerprint(instance) == waiting.rotation.new


def test_a_rotation_that_is_undone_leaves_the_old_root_alone(instance):
    enrolled(instance)
    before = fingerprint(instance)
    go_on = stopped(instance, "right")
    try:
        instance.client.rotate("begin")
        time.sleep(0.5)
        assert instance.client.rotate("abort").status.rotation is None
    finally:
        go_on()
    with Knocker(instance, "left", "right", "one") as one:
        time.sleep(2.5)
    assert one.errors == []
    for name in ("left", "right"):
        said = instance.report(name).identity
        assert (said.issuer, said.roots) == (before, (before,))
    with pytest.raises(LocalModeError, match="no rotation is under way"):
        instance.client.rotate("abort")


def test_a_gateway_may_be_replaced_by_a_newer_one_and_its_worker_die_meanwhile(instance):
    enrolled(instance)
    before = fingerprint(instance)
    old = old_connection(instance, "left", "right", 10)
    try:
        with Knocker(instance, "right", "left", "two") as two:
            go_on = stopped(instance, "right")
            instance.client.rotate("begin")
            time.sleep(0.5)
            # It has learned of the new root, and hands over to one that begins with both.
            assert instance.upgrade("left").generation == 2
            go_on()
            wait_rotated(instance)
        words = old.communicate(timeout=30)
        assert words[0].startswith("whole "), words
    finally:
        old.kill()
    assert two.errors == []
    instance.client.rotate("begin")
    instance.kill_gateway("right", "worker")
    wait_rotated(instance)
    with Knocker(instance, "right", "left", "two") as two:
        time.sleep(0.5)
    assert two.errors == []
    assert fingerprint(instance) != before
