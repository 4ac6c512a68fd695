"""Pods come and go in any order, and no new connection breaks over it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest

from datapath import scripts

pytestmark = pytest.mark.root
PORT = 9000

# Connects, says the marker, checks the echo, closes; again and again until told to stop. Prints a line of JSON at the end.
KNOCKER = """
import json, select, socket, sys, time
address, marker = sys.argv[1], sys.argv[2].encode()
good, errors = 0, []
print("begun", flush=True)
while True:
    try:
        with socket.create_connection((address, PORT), timeout=10) as s:
            reader = s.makefile("rb"); reader.readline(); s.sendall(marker + b"\\n")
            if reader.readline() != marker + b"\\n": raise OSError("not echoed")
            good += 1
    except OSError as error:
        errors.append(f"{time.time():.2f} {error!r}")
    if select.select([sys.stdin], [], [], 0.01)[0]: break
print(json.dumps({"good": good, "errors": errors}), flush=True)
""".replace("PORT", str(PORT))


class Knocker:
    """New connections from one pod to another, all the time."""

    def __init__(self, pods, source, target, marker):
        address = pods.address(target)
        line = [sys.executable, "-c", KNOCKER, address, marker]
        self._process = pods.start(source, *line, stdin=-1)
        assert self._process.stdout.readline() == "begun\n", self._process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        output, errors = self._process.communicate("stop\n", timeout=60)
        result = json.loads(output) if output else {"good": 0, "errors": [errors]}
        self.good, self.errors = result["good"], result["errors"]


def two_pods(instance):
    for name in ("left", "right"):
        instance.run(name, sys.executable, "-u", "-c", scripts.server(PORT))
    for name in ("left", "right"):
        instance.wait_log(name, "ready", container="app")


ORDERS = {
    "left then right": [("left", "true"), ("right", "true")],
    "right then left": [("right", "true"), ("left", "true")],
    "in and out again": [("left", "true"), ("right", "true"), ("right", None), ("right", "true"), ("left", None)],
    "leaving while the other stays": [("left", "true"), ("right", "true"), ("left", None), ("left", "true")],
    "strict last": [("left", "true"), ("right", "true"), ("right", "strict"), ("left", "strict"), ("left", "true")],
    "strict at once": [("right", "true"), ("left", "strict")],
    "encryption off and on": [("left", "true"), ("right", "true"), ("right", "false"), ("left", "false")],
}


@pytest.mark.parametrize("order", ORDERS)
def test_no_new_connection_breaks(instance, order):
    two_pods(instance)
    with Knocker(instance, "left", "right", "one") as one, Knocker(instance, "right", "left", "two") as two:
        for name, encrypt in ORDERS[order]:
            time.sleep(0.5)
            if encrypt:
                instance.annotate(name, encrypt=encrypt)
            else:
                instance.annotate(name, remove=["encrypt"])
        time.sleep(0.7)
    assert one.errors == two.errors == []
    assert one.good > 50
    assert two.good > 50


def test_once_both_are_enrolled_nothing_is_in_clear(instance):
    two_pods(instance)
    with instance.capture("left") as before, Knocker(instance, "left", "right", "clear-marker-1"):
        time.sleep(0.5)
    assert before.seen(b"clear-marker-1")
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="true")
    with (
        instance.capture("left") as after,
        Knocker(instance, "left", "right", "secret-marker-1") as one,
        Knocker(instance, "right", "left", "secret-marker-2") as two,
    ):
        time.sleep(1)
    assert one.errors == two.errors == []
    assert not after.seen(b"secret-marker-1")
    assert not after.seen(b"secret-marker-2")
    assert set(after.ports()) == {18443}
    for name, peer in (("left", "right"), ("right", "left")):
        known = instance.wait_peer(name, instance.address(peer), "enrolled")
        assert known.spiffe_id == "spiffe://cluster.local/ns/default/sa/default"
        assert (known.cipher, known.key_exchange) == ("TLS13_AES_128_GCM_SHA256", "X25519MLKEM768")


def test_a_peer_that_dialled_is_known_without_being_dialled(instance):
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="true")
    with Knocker(instance, "left", "right", "x"):
        time.sleep(0.3)
    assert instance.wait_peer("right", instance.address("left"), "enrolled").tunnelled > 0


def test_a_pod_with_another_authority_is_refused_and_the_log_says_why(instance, tmp_path):
    """Two instances cannot meet, so one pod's gateway gets its certificate from another root, of which the other's
    supervisor does not hear."""
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    left = instance.address("left")
    supervisor = instance.gateway_processes("left")["supervisor"]
    os.kill(supervisor, signal.SIGSTOP)
    try:
        instance.replace_authority(tmp_path)
        instance.annotate("right", encrypt="true")
        text = f"""
import socket
try: print("got", socket.create_connection(({left!r}, {PORT}), timeout=10).recv(10))
except ConnectionResetError: print("reset")"""
        assert instance.exec("right", sys.executable, "-c", text).stdout == "reset\n"
        instance.wait_log("right", f"refused a connection to {left}: its certificate is of an unknown authority")
        instance.wait_log("left", f"refused a tunnel from {instance.pod('right').addresses[0]}")
        peer = instance.wait_peer("right", left, "refused")
        assert peer.refused >= 1
    finally:
        os.kill(supervisor, signal.SIGCONT)


def test_a_strict_pod_speaks_to_enrolled_pods_only(instance):
    two_pods(instance)
    instance.annotate("left", encrypt="strict")
    right = instance.address("right")
    text = f"""
import socket
try: print("open" if socket.create_connection(({right!r}, {PORT}), timeout=10).recv(10) else "closed")
except ConnectionResetError: print("reset")"""
    assert instance.exec("left", sys.executable, "-c", text).stdout == "reset\n"
    instance.wait_log("left", "it is not enrolled, and this pod is strict")
    instance.annotate("right", encrypt="true")
    assert instance.exec("left", sys.executable, "-c", text).stdout == "open\n"


def test_without_encryption_gateways_speak_plainly_on_18001(instance):
    two_pods(instance)
    instance.annotate("left", encrypt="false")
    instance.annotate("right", encrypt="false")
    with instance.capture("left") as wire, Knocker(instance, "left", "right", "plain-marker") as knocker:
        time.sleep(0.5)
    assert knocker.errors == []
    assert set(wire.ports()) == {18001}
    assert wire.seen(b"plain-marker")


def test_leaving_lets_an_old_connection_finish_and_ends_with_0(instance):
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="true")
    text = f"""
import socket, sys
s = socket.create_connection(({instance.address("right")!r}, {PORT})); f = s.makefile("rb"); f.readline()
print("connected", flush=True)
for line in sys.stdin.buffer:
    s.sendall(line); assert f.readline() == line; print("echoed", flush=True)"""
    old = instance.start("left", sys.executable, "-c", text, stdin=-1)
    try:
        assert old.stdout.readline() == "connected\n"
        instance.client.annotate("left", {}, remove=["kube-gateway.io/encrypt"])
        instance.wait_log("left", "leaving")
        instance.wait_gateway("left", "draining")
        assert instance.exec("left", sys.executable, "-c", "import socket; socket.socket()").returncode == 0
        old.stdin.write("still here\n")
        old.stdin.flush()
        assert old.stdout.readline() == "echoed\n"
    finally:
        old.communicate(timeout=10)
    pod = instance.client.wait_settled("left", timeout=15)
    assert pod.gateway == "none"
    assert instance.log("left").rstrip().endswith("left")
    assert not instance.gateway_processes("left")


def test_enabled_false_leaves_too(instance):
    two_pods(instance)
    instance.annotate("left", encrypt="true")
    assert instance.annotate("left", enabled="false").gateway == "none"
    assert instance.hooks("left") == 0
    assert instance.annotate("left", remove=["enabled"]).gateway == "ready"
    assert instance.hooks("left") == 10


def test_an_endpoint_accepts_tunnels_but_its_own_connections_go_direct(instance):
    two_pods(instance)
    instance.annotate("left", encrypt="true", endpoint="true")
    instance.annotate("right", encrypt="true")
    with Knocker(instance, "left", "right", "a") as out, Knocker(instance, "right", "left", "b") as back:
        time.sleep(0.7)
    assert out.errors == back.errors == []
    assert instance.counter("left", "hook_redirected") == 0
    instance.wait_counter("left", "streams_inbound", 1)


def test_excluded_ports_and_addresses_stay_in_clear(instance):
    two_pods(instance)
    instance.annotate("right", encrypt="true")
    for setting in ({"exclude_ports": f"22,{PORT}"}, {"exclude_cidrs": "10.89.0.0/24"}, {"podcidr": "10.99.0.0/16"}):
        instance.annotate("left", encrypt="true", **setting)
        with instance.capture("left") as wire, Knocker(instance, "left", "right", "excluded"):
            time.sleep(0.4)
        assert set(wire.ports()) == {PORT}, setting
        instance.annotate("left", remove=list(setting))
        with instance.capture("left") as wire, Knocker(instance, "left", "right", "captured"):
            time.sleep(0.4)
        assert set(wire.ports()) == {18443}, setting


def test_certificates_are_renewed_while_connections_run_on(short_lived):
    two_pods(short_lived)
    short_lived.annotate("left", encrypt="true")
    short_lived.annotate("right", encrypt="true")
    right = short_lived.address("right")
    text = f"""
import socket, time
s = socket.create_connection(({right!r}, {PORT})); f = s.makefile("rb"); f.readline()
for number in range(75):
    s.sendall(b"%d\\n" % number); assert f.readline() == b"%d\\n" % number; time.sleep(0.2)
print("whole")"""
    old = short_lived.start("left", sys.executable, "-c", text)
    try:
        with Knocker(short_lived, "left", "right", "renewal") as knocker:
            expires = short_lived.report("left").certificate_expires
            time.sleep(13)
            # New sessions are under new certificates.
            deadline = time.monotonic() + 5
            while short_lived.peer("left", right).certificate_expires < time.time():
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert old.communicate(timeout=30)[0] == "whole\n"
    finally:
        old.kill()
    assert knocker.errors == []
    assert short_lived.report("left").certificate_expires >= expires + 8
    assert short_lived.log("left").count("valid for") >= 3
