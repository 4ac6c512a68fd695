"""A strict pod under its real gateway: nothing comes in or goes out in clear, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest

from datapath import scripts
from enrolment.test_enrolment import PORT, Knocker
from hooks import hook_programs as programs
from hooks.hooked import running
from hostile.length import amount

pytestmark = pytest.mark.root

REFUSED_IN = "A strict pod refuses connections in clear at once, without its gateway by silence"
NOTHING_OUT = "Nothing new leaves a strict pod in clear, also when its gateway is killed, worker and supervisor"
NO_GAP = "A hand-over of a strict pod's gateway leaves no moment in which a connection in clear gets in"
OLDER = "Connections that stood before a pod became strict go on"


@pytest.fixture
def pods(instance):
    """A strict server, a friend that is enrolled, and a stranger that is not; each has the echo server."""
    for name in ("server", "friend", "stranger"):
        instance.run(name, sys.executable, "-u", "-c", scripts.server(PORT))
        instance.wait_log(name, "ready", container="app")
    instance.annotate("friend", encrypt="true")
    instance.annotate("server", encrypt="strict", udp="block")
    return instance


def connect(pods, source, target, *, family=0, patience=2.0) -> str:
    address = pods.address(target, family)
    done = pods.exec(source, sys.executable, "-c", programs.CONNECT, address, str(PORT), str(patience))
    return done.stdout.strip()


def datagram(pods, how: str) -> str:
    order = (programs.DATAGRAM, pods.address("stranger"), "9999", how)
    return pods.exec("server", sys.executable, "-c", *order).stdout.strip()


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_inbound(pods, figures, family):
    outcomes = []
    with pods.capture("server") as wire:
        for _ in range(10):
            outcomes.append(connect(pods, "stranger", "server", family=family))
        assert connect(pods, "friend", "server", family=family) == "connected"
        pods.wait_counter("server", "gate_refused", 10)
        pods.stop_manager()
        pods.kill_gateway("server")
        dead = [connect(pods, "stranger", "server", family=family, patience=1.0) for _ in range(2)]
    assert set(outcomes) == {"ConnectionRefusedError soon"}
    assert set(dead) == {"TimeoutError late"}
    assert PORT not in wire.ports()
    assert pods.log("server").count(f"refused {pods.address('stranger', family)} to port {PORT} in clear") == 1
    figures(REFUSED_IN, reset=len(outcomes), unanswered=len(dead), bytes_in_clear=0)
    pods.continue_manager()
    pods.client.wait_settled("server", timeout=30)
    assert connect(pods, "friend", "server", family=family) == "connected"
    assert connect(pods, "stranger", "server", family=family) == "ConnectionRefusedError soon"


@pytest.mark.parametrize("part", ["worker", "supervisor", None], ids=["worker", "supervisor", "both"])
def test_outbound(pods, figures, part):
    tries = amount(full=24, short=8)
    outcomes: list[str] = []
    with pods.capture("server") as wire:
        # The friend is enrolled; the stranger is not, and is refused always.
        assert connect(pods, "server", "friend").startswith("connected")
        assert not connect(pods, "server", "stranger").startswith("connected")
        pods.stop_manager()
        pods.kill_gateway("server", part)
        for number in range(tries):
            outcomes.append(connect(pods, "server", ("friend", "stranger")[number % 2], family=number // 2 % 2))
            assert datagram(pods, "connected") == datagram(pods, "not connected") == "PermissionError"
    refused = [outcome.split()[0] for outcome in (outcomes if part is None else outcomes[1::2])]
    assert set(refused) <= {"ConnectionResetError", "ConnectionRefusedError", "closed"}
    # Whatever the friend was told, it was told in the tunnel.
    assert set(wire.ports()) == {18443}
    assert not wire.seen(b"datagram in clear")
    figures(NOTHING_OUT, connections_tried=tries, datagrams_tried=2 * tries, bytes_in_clear=0)
    pods.continue_manager()


def test_a_hand_over_has_no_gap(pods, figures):
    """The stranger tries all the time, while newer gateways take over again and again."""
    with running(pods, "stranger", programs.HAMMER, pods.address("server"), str(PORT)) as hammer:
        for generation in range(2, amount(full=8, short=4)):
            assert pods.upgrade("server").generation == generation
            pods.wait_log("server", f"taken over from generation {generation - 1}")
            # The listeners are those that the first gateway made.
            assert connect(pods, "friend", "server").startswith("connected")
            time.sleep(0.5)
        output, _ = hammer.communicate("stop\n", timeout=20)
    seen = json.loads(output)
    assert set(seen) == {"ConnectionRefusedError"}, seen
    figures(NO_GAP, hand_overs=generation - 1, connections_tried=seen["ConnectionRefusedError"], let_in=0)


def test_what_stood_before_goes_on(pods, figures):
    pods.annotate("server", encrypt="true")
    with (
        running(pods, "stranger", programs.CLIENT, pods.address("server"), str(PORT)) as into,
        running(pods, "server", programs.CLIENT, pods.address("stranger"), str(PORT)) as out,
    ):

        def says(text: str) -> None:
            for client in (into, out):
                client.stdin.write(text + "\n")
                client.stdin.flush()
                assert client.stdout.readline() == text + "\n"

        says("permissive")
        pods.annotate("server", encrypt="strict")
        says("strict")
        assert connect(pods, "stranger", "server") == "ConnectionRefusedError soon"
        pods.stop_manager()
        os.kill(pods.gateway_processes("server")["supervisor"], signal.SIGKILL)
        time.sleep(0.5)
        # Made by the application itself before there was a gateway: the kernel's own.
        into.stdin.write("alone\n")
        into.stdin.flush()
        assert into.stdout.readline() == "alone\n"
        assert connect(pods, "stranger", "server", patience=1.0) == "TimeoutError late"
    figures(OLDER, connections=2, bytes_lost=0)
    pods.continue_manager()


def test_a_pod_that_is_not_strict_any_more_is_open(pods):
    pods.annotate("server", encrypt="true")
    assert connect(pods, "stranger", "server") == "connected"
    pods.annotate("server", encrypt="strict")
    assert connect(pods, "stranger", "server") == "ConnectionRefusedError soon"
    pods.annotate("server", exempt_sources=f"{pods.address('stranger')}/32")
    assert connect(pods, "stranger", "server") == "connected"
    assert connect(pods, "friend", "server") == "connected"
    pods.annotate("server", remove=["encrypt", "udp", "exempt_sources"])
    assert pods.hooks("server") == 0
    assert connect(pods, "stranger", "server") == connect(pods, "server", "stranger") == "connected"
    assert datagram(pods, "connected") == "sent"


def test_honest_peers_notice_nothing(pods):
    with Knocker(pods, "friend", "server", "x") as into, Knocker(pods, "server", "friend", "x") as out:
        time.sleep(1)
        pods.upgrade("server")
        time.sleep(1)
    assert into.errors == out.errors == []
    assert into.good
    assert out.good


def test_the_gate_is_the_supervisors(pods):
    """A worker that has died, or hangs, changes nothing."""
    os.kill(pods.gateway_processes("server")["worker"], signal.SIGSTOP)
    time.sleep(0.2)
    assert connect(pods, "stranger", "server") == "ConnectionRefusedError soon"
    pods.kill_gateway("server", "worker")
    assert connect(pods, "stranger", "server") == "ConnectionRefusedError soon"
