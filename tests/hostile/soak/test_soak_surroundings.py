"""What gateways depend on fails, with load running: the wire, the disk, descriptors, the processor."""

from __future__ import annotations

import sys
import time

import pytest

from hostile.soak import faults, promises
from hostile.soak.driver import NAMES, PORT, Load, long_form
from hostile.soak.judging import kept

pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


def test_a_bad_wire_makes_connections_slow_and_breaks_none(talk, figures):
    with Load(talk) as load:
        with faults.bad_wire(talk.pods, "right") as done:
            load.run_for(long_form(3.0, 120.0))
        load.run_for(1.0)
    assert min(done.values()) > 0, done
    kept(load.seen, promises.WIRE, figures, **done)


def test_gateways_with_a_tenth_of_the_processor_time_are_slow_and_break_nothing(talk, figures):
    pids = [pid for name in NAMES for pid in talk.processes(name).values()]
    with Load(talk) as load:
        with faults.starved(pids):
            load.run_for(long_form(3.0, 60.0))
        load.run_for(1.0)
    kept(load.seen, promises.STARVATION, figures)


def test_a_worker_out_of_descriptors_keeps_what_stands_and_recovers(talk, figures):
    pid = talk.processes("left")["worker"]
    with Load(talk) as load:
        began = time.monotonic()
        with faults.out_of_descriptors(pid):
            load.run_for(long_form(2.0, 8.0))
        ended = time.monotonic()
        load.run_for(2.0)
    # What stood before is whole, and so is what began after.
    broken = load.seen.account.broken
    assert [connection for connection in broken if not began - 0.2 < connection.client.opened < ended + 0.2] == []
    assert broken, "there were descriptors enough"
    talk.pods.wait_log("left", "new ones wait")
    kept(load.seen, promises.DESCRIPTORS, figures, faults=[(began, ended + 0.2)])


def test_a_gateway_without_a_descriptor_does_not_take_its_peer_for_one_that_is_not_enrolled(talking_pods, figures):
    """Nothing is known of the peer yet, and permissive pods speak in clear to whom they do not reach."""
    with talking_pods() as talk:
        text = _CONNECT_TWICE.replace("TO", repr((talk.pods.address("right"), PORT)))
        with talk.pods.capture("left") as wire:
            application = talk.pods.start("left", sys.executable, "-c", text, stdin=-1)
            assert application.stdout.readline() == "begin\n"
            # Room for the application's connection, and not for the one to the peer.
            with faults.out_of_descriptors(talk.processes("left")["worker"], left=1):
                application.stdin.write("now\n")
                application.stdin.flush()
                assert application.stdout.readline() == "reset\n"
            # At once: what was learned of the peer would be forgotten after a moment.
            assert application.communicate("now\n", timeout=20)[0] == "accepted\n"
        ports = wire.ports()
    assert set(ports) == {18443}
    figures(promises.DESCRIPTORS.claim, bytes_in_clear=ports.get(PORT, 0))


_CONNECT_TWICE = """
import socket
print("begin", flush=True)
for _ in range(2):
    input()
    try:
        with socket.create_connection(TO, timeout=10) as s:
            s.sendall(b"x"); s.settimeout(1); s.recv(1); print("ended", flush=True)
    except TimeoutError: print("accepted", flush=True)
    except ConnectionResetError: print("reset", flush=True)"""
