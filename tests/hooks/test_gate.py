"""Connections from outside come through the tunnel or are refused: at once while a gateway is there, without an answer when
it has been killed. What stands goes on."""

from __future__ import annotations

import sys
import time

import pytest

from hooks import hook_programs as programs
from hooks.hooked import Hooked, running

pytestmark = pytest.mark.root

PORT, OTHER = 9000, 9001
BRIDGE = "10.89.0.1"
CLOSED = {"strict": True, "gate": "all"}


@pytest.fixture(scope="module")
def served(two):
    """The application listens on two ports."""
    with running(two, "inside", programs.SERVE, str(PORT)), running(two, "inside", programs.SERVE, str(OTHER)):
        yield two


@pytest.fixture
def gated(served, hooked):
    hooked("guard")
    hooked.configure(**CLOSED)
    return hooked


def reach(pods, address, port=PORT, *, patience=2.0) -> str:
    """What comes of a connection from the other pod."""
    done = pods.exec("outside", sys.executable, "-c", programs.CONNECT, address, str(port), str(patience))
    return done.stdout.strip()


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_connection_in_clear_is_refused_at_once(served, gated, family):
    address = served.address("inside", family)
    assert reach(served, address) == "ConnectionRefusedError soon"
    assert gated.counter("gate_refused") == 1
    assert gated("refused") == [[served.address("outside", family), PORT, 1]]
    assert gated("refused") == []
    gated.configure()
    assert reach(served, address) == "connected"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_after_the_death_of_the_gateway_it_is_not_answered(served, gated, family):
    gated.kill()
    assert reach(served, served.address("inside", family)) == "TimeoutError late"


def test_what_stands_goes_on_through_the_gate_and_the_death_of_the_gateway(served, hooked):
    with running(served, "outside", programs.CLIENT, hooked.address, str(PORT)) as client:

        def says(text: str) -> str:
            client.stdin.write(text + "\n")
            client.stdin.flush()
            return client.stdout.readline()

        assert says("before") == "before\n"
        hooked("guard")
        hooked.configure(**CLOSED)
        assert says("gated") == "gated\n"
        hooked.kill()
        assert says("alone") == "alone\n"


def test_the_tunnel_is_open_while_it_is_the_gateways(served, gated):
    gated("echo", port=18443)
    assert reach(served, gated.address, 18443).startswith("TimeoutError")  # it echoes, so it waits: it was let in
    assert gated.counter("gate_refused") == 0
    assert gated.counter("gate_dropped") == 0


def test_a_squatter_on_the_port_of_the_tunnel_is_not_reached(served, gated):
    with running(served, "inside", programs.SERVE, "18443"):
        assert reach(served, gated.address, 18443) == "TimeoutError late"
        assert gated.counter("gate_dropped") >= 1
        gated.kill()
        assert reach(served, gated.address, 18443) == "TimeoutError late"


def test_a_served_port_of_the_gateway_is_open(served, gated):
    gated.configure(**CLOSED, served_ports=[15090])
    gated("echo", port=15090)
    assert reach(served, gated.address, 15090, patience=0.5).startswith("TimeoutError")
    assert gated.counter("gate_dropped") == 0


def test_only_the_ports_that_a_policy_covers(served, gated):
    gated.configure(gate=[OTHER, 65535])
    assert reach(served, gated.address) == "connected"
    assert reach(served, gated.address, OTHER) == "ConnectionRefusedError soon"
    assert reach(served, gated.address6, OTHER) == "ConnectionRefusedError soon"
    gated.kill()
    assert reach(served, gated.address) == "connected"
    assert reach(served, gated.address, OTHER) == "TimeoutError late"


@pytest.mark.parametrize("to", ["127.0.0.1", "::1", "own", "own6", "mapped"])
def test_the_pod_reaches_itself(served, gated, to):
    address = {"own": gated.address, "own6": gated.address6, "mapped": f"::ffff:{gated.address}"}.get(to, to)
    assert gated.python(programs.CONNECT, address, str(PORT), "2") == "connected"
    assert gated.counter("gate_refused") == gated.counter("gate_dropped") == 0
    gated.kill()
    assert gated.python(programs.CONNECT, address, str(PORT), "2") == "connected"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_exempt_sources_reach_every_port(served, gated, family):
    source = served.address("outside", family)
    gated.configure(
        **CLOSED, exempt=[("10.89.0.0", 24, False), ("fd89::", 64, False), (source, 128 if family else 32, True)]
    )
    assert reach(served, served.address("inside", family)) == "connected"
    assert gated.counter("gate_exempt") == 1
    gated.kill()
    assert reach(served, served.address("inside", family)) == "connected"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_a_source_of_probes_reaches_probed_ports_alone(served, gated, family):
    source = (served.address("outside", family), 128 if family else 32, True)
    gated.configure(**CLOSED, exempt=[source], probe_ports=[OTHER])
    address = served.address("inside", family)
    assert reach(served, address, OTHER) == "connected"
    assert reach(served, address) == "ConnectionRefusedError soon"
    gated.kill()
    assert reach(served, address, OTHER) == "connected"
    assert reach(served, address) == "TimeoutError late"


def test_probed_ports_are_closed_to_others(served, gated):
    gated.configure(**CLOSED, exempt=[(BRIDGE, 32, True)], probe_ports=[PORT])
    assert reach(served, gated.address) == "ConnectionRefusedError soon"


def test_a_connection_with_fast_open_is_refused(served, gated):
    """Data in the SYN, to a listener that would take it without a cookie."""
    serve = programs.SERVE.replace("print(", "listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)\nprint(")
    send = """
import socket, sys
s = socket.socket(); s.settimeout(2); s.setsockopt(socket.IPPROTO_TCP, 34, 1)
try:
    s.sendto(b"in clear", socket.MSG_FASTOPEN, (sys.argv[1], int(sys.argv[2])))
    print("sent", s.recv(100))
except OSError as error:
    print(type(error).__name__)
"""
    with running(served, "inside", serve, "9003"), served.capture("outside") as wire:
        served.in_network("inside", "sysctl", "-qw", "net.ipv4.tcp_fastopen=0x603")
        served.in_network("outside", "sysctl", "-qw", "net.ipv4.tcp_fastopen=0x5")
        done = served.exec("outside", sys.executable, "-c", send, gated.address, "9003")
        assert done.stdout == "ConnectionRefusedError\n"
        gated.kill()
        done = served.exec("outside", sys.executable, "-c", send, gated.address, "9003")
        assert done.stdout == "TimeoutError\n"
    # Nothing came back.
    assert not wire.seen(served.address("outside").encode())


def test_a_listener_that_the_gateway_marks_is_found_through_the_gate(served, gated):
    """The connect hook looks for it as if somebody without an address had connected."""
    gated("redirect")
    before = gated.counter("hook_redirected")
    gated.python(programs.CONNECT, served.address("outside"), "9", "0.5")
    assert gated.counter("hook_redirected") == before + 1


def test_a_newer_gate_is_there_before_the_older_one_goes(served, hooked):
    hooked("guard")
    newer = Hooked(served, "inside")
    try:
        for each in (hooked, newer):
            each.configure(**CLOSED)
        newer("guard")
        assert reach(served, hooked.address) == "ConnectionRefusedError soon"
        hooked("unguard")
        assert reach(served, hooked.address) == "ConnectionRefusedError soon"
        assert newer.counter("gate_refused") == 2
        # What one of two refuses is refused.
        newer.configure()
        hooked("guard")
        assert reach(served, hooked.address) == "ConnectionRefusedError soon"
    finally:
        newer.end()


def test_refusals_are_bounded_and_quick(served, gated):
    text = """
import socket, sys, time
began = time.monotonic()
for _ in range(2000):
    s = socket.socket()
    try: s.connect((sys.argv[1], int(sys.argv[2])))
    except ConnectionRefusedError: pass
    else: raise SystemExit("let in")
    s.close()
print(time.monotonic() - began)
"""
    began = time.monotonic()
    served.exec("outside", sys.executable, "-c", text, gated.address, str(PORT))
    assert time.monotonic() - began < 20
    assert gated("refused") == [[served.address("outside"), PORT, 2000]]
