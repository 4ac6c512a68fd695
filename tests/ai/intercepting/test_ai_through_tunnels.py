"""Calls are looked into before they go through a tunnel, with everything that holds without one."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
from intercepting_rig import AT_ONCE, PATIENCE, Decision, Engine, Peer, Reply, Rig, ok, post

pytestmark = pytest.mark.root
# The second gateway's address: nobody else listens for tunnels there.
OTHER = "127.41.7.3"


@pytest.fixture(scope="module")
def gateways():
    """A gateway with its own address and one with another; connections between them go through a tunnel."""
    near, far = Rig(), Rig(address=OTHER)
    far.core.listen("plain", socket.create_server((OTHER, 18001)).detach())
    listener = socket.create_server((OTHER, 0))
    inner = socket.create_server(("127.0.0.1", 0))
    near.core.listen_for(f"{OTHER}:{listener.getsockname()[1]}", inner.dup().detach())
    try:
        yield near, listener, inner.getsockname()
    finally:
        near.core.set_policy(None)
        for each in (listener, inner):
            each.close()


@contextlib.contextmanager
def connection(gateways, engine: Engine | None):
    near, listener, address = gateways
    near.core.set_policy(engine)
    client = Peer(socket.create_connection(address))
    listener.settimeout(5)
    yield client, lambda: Peer(listener.accept()[0])
    client.close()


def tunnelled(gateways) -> int:
    return gateways[0].counters()["streams_outbound"]


def test_early_bytes_of_a_call_are_looked_into(gateways):
    before = tunnelled(gateways)
    with connection(gateways, Engine(lambda _: Decision(body=b"[]"))) as (client, accept):
        client.send(post(b"{}"))
        server = accept()
        server.until(b"\r\n\r\n[]")
        server.send(ok(b"x"))
        client.until(b"\r\n\r\nx")
        server.close()
        assert client.rest() == b""
    assert tunnelled(gateways) == before + 1


def test_early_bytes_of_other_protocols_travel_as_before(gateways):
    with connection(gateways, Engine()) as (client, accept):
        client.send(b"\x00early")
        server = accept()
        assert server.exactly(6) == b"\x00early"
        client.end()
        assert server.rest() == b""
        server.send(b"late")
        server.close()
        assert client.rest() == b"late"


def test_a_reply_of_the_gateway_needs_no_answer_of_the_server(gateways):
    with connection(gateways, Engine(lambda _: Decision(reply=Reply()))) as (client, accept):
        client.send(post(b"{}"))
        client.until(b'"no"}')
        accept().nothing()


@pytest.mark.parametrize("way", ["close", "reset"])
def test_the_server_learns_at_once_that_the_client_is_gone(gateways, way):
    engine = Engine()
    with connection(gateways, engine) as (client, accept):
        client.send(post(b"{}"))
        server = accept()
        server.until(b"{}")
        began = time.perf_counter()
        client.reset() if way == "reset" else client.close()
        how = server.how_it_ends()
        assert time.perf_counter() - began < AT_ONCE
        assert how == ("reset" if way == "reset" else "end")
        server.close()
    assert engine.decisions[0].facts()["client_gone"]


def test_a_reset_of_the_server_arrives(gateways):
    with connection(gateways, Engine()) as (client, accept):
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        server = accept()
        server.until(b"\r\n\r\n")
        server.reset()
        assert client.how_it_ends() == "reset"


def test_sessions_are_used_again_after_calls(gateways):
    near = gateways[0]
    before = near.counters()
    for _ in range(5):
        with connection(gateways, Engine()) as (client, accept):
            client.send(post(b"{}"))
            server = accept()
            server.until(b"{}")
            server.send(ok(b"x"))
            client.until(b"\r\n\r\nx")
            client.end()
            server.rest()
            server.close()
            client.rest()
        # The session is given back before its stream counts as ended.
        deadline = time.monotonic() + PATIENCE
        while near.counters()["streams_active"]:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    after = near.counters()
    assert after["sessions_dialled"] - before["sessions_dialled"] <= 1
    assert after["sessions_reused"] - before["sessions_reused"] >= 4
