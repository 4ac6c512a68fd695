"""The gateway connects to its watcher, proves that it is the watcher, and follows it to another."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import ssl
import threading
import time

import pytest

from kube_gateway.control import messages
from kube_gateway.control.tls import server_context
from kube_gateway.control.whereabouts import Whereabouts
from kube_gateway.errors import IdentityError
from kube_gateway.gateway import watcher_link
from kube_gateway.gateway.watcher_connection import WatcherConnection
from kube_gateway.gateway.watcher_link import WatcherLink
from kube_gateway.identity.authority import create_authority
from tls_identities import identity_of, tls_watcher

WATCHER = "spiffe://cluster.local/ns/shop/sa/watcher"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("authority"))


def greet(name):
    """A watcher that says its name."""

    async def serve(reader, writer):
        writer.write(f"{name}\n".encode())
        await writer.drain()
        await reader.read()

    return serve


async def heard(connection):
    """The first line of a new connection."""
    reader, writer = await connection.connect()
    try:
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


def connection_to(port, identity, watcher=WATCHER):
    return WatcherConnection(Whereabouts(host="127.0.0.1", port=port), watcher=watcher, identity=lambda: identity)


async def test_it_speaks_to_the_watcher(authority):
    async with tls_watcher(identity_of(authority, "watcher"), greet("watcher")) as port:
        assert await heard(connection_to(port, identity_of(authority, "web"))) == "watcher"


async def test_another_workload_of_the_same_roots_is_not_the_watcher(authority):
    async with tls_watcher(identity_of(authority, "thief"), greet("thief")) as port:
        with pytest.raises(IdentityError) as raised:
            await connection_to(port, identity_of(authority, "web")).connect()
    assert raised.value.message == (
        f"tls:127.0.0.1:{port} is spiffe://cluster.local/ns/shop/sa/thief, not the watcher {WATCHER}"
    )


async def test_a_watcher_of_another_root_is_an_error_like_any_of_the_network(authority, tmp_path):
    stranger = create_authority(tmp_path / "stranger")
    async with tls_watcher(identity_of(stranger, "watcher", roots=authority), greet("stranger")) as port:
        with pytest.raises(ssl.SSLError) as raised:
            await connection_to(port, identity_of(authority, "web")).connect()
    assert isinstance(raised.value, OSError)


async def test_without_a_certificate_it_does_not_dial(authority):
    async with tls_watcher(identity_of(authority, "watcher"), greet("watcher")) as port:
        with pytest.raises(IdentityError, match="no certificate to show"):
            await connection_to(port, None).connect()


async def test_the_certificate_is_the_one_of_that_moment(authority, tmp_path):
    stranger = create_authority(tmp_path / "stranger")
    identities = [identity_of(stranger, "web", roots=authority), identity_of(authority, "web")]
    async with tls_watcher(identity_of(authority, "watcher"), greet("watcher")) as port:
        connection = WatcherConnection(
            Whereabouts(host="127.0.0.1", port=port), watcher=WATCHER, identity=lambda: identities[0]
        )
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert await heard(connection) == ""
        identities.pop(0)
        assert await heard(connection) == "watcher"


async def test_it_goes_where_it_is_sent_once_and_then_back(authority):
    watcher = identity_of(authority, "watcher")
    async with tls_watcher(watcher, greet("standby")) as standby, tls_watcher(watcher, greet("leader")) as leader:
        connection = connection_to(standby, identity_of(authority, "web"))
        assert await heard(connection) == "standby"
        there = Whereabouts(host="127.0.0.1", port=leader)
        assert connection.try_next(there)
        assert await heard(connection) == "leader"
        # Two that send it to each other are not asked in a hurry.
        assert not connection.try_next(there)
        assert await heard(connection) == "leader"
        assert await heard(connection) == "standby"
        assert connection.try_next(there)


async def test_a_leader_that_is_gone_is_not_tried_for_ever(authority):
    async with tls_watcher(identity_of(authority, "watcher"), greet("standby")) as standby:
        connection = connection_to(standby, identity_of(authority, "web"))
        connection.try_next(Whereabouts(host="127.0.0.1", port=1))
        with pytest.raises(OSError):
            await connection.connect()
        assert await heard(connection) == "standby"


async def test_a_leader_that_is_unknown_is_looked_for_in_the_first_place(authority):
    async with tls_watcher(identity_of(authority, "watcher"), greet("standby")) as standby:
        connection = connection_to(standby, identity_of(authority, "web"))
        assert not connection.try_next(None)
        assert await heard(connection) == "standby"


def hang(listener, identity, came):
    """Like a watcher that is stopped once the handshake is done: it reads nothing any more, and closes nothing."""
    context = server_context(chain=identity.chain, key=identity.key, trust_bundle=identity.trust_bundle)
    for _ in range(2):
        came.put((time.monotonic(), context.wrap_socket(listener.accept()[0], server_side=True)))


async def test_a_watcher_that_hangs_is_left_at_once(authority, monkeypatch):
    monkeypatch.setattr(watcher_link, "WATCHER_SILENT_AFTER", 0.3)
    came = queue.Queue()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang, args=(listener, identity_of(authority, "watcher"), came), daemon=True).start()
        connection = connection_to(listener.getsockname()[1], identity_of(authority, "web"))
        link = WatcherLink(
            connection.connect,
            hello=lambda: messages.Hello(pod="shop/web", uid="1", generation=1, version="0"),
            on_connect=lambda: None,
            on_disconnect=lambda: None,
            on_message=lambda _: None,
            longest_pause=5.0,
        )
        running = asyncio.create_task(link.run())
        (first, one), (second, other) = [await asyncio.to_thread(came.get, timeout=20) for _ in range(2)]
        running.cancel()
        one.close()
        other.close()
    assert second - first < 3
