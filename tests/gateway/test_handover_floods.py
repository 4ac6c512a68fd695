"""False names and floods of an application, and a hand-over that comes about all the same."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import pytest

from gateway.handover_older import Older
from gateway.handover_partners import gateway
from kube_gateway.gateway import listeners
from kube_gateway.gateway.handover import taking
from kube_gateway.gateway.handover.kernel import abstract_names

pytestmark = pytest.mark.usefixtures("names_of_this_test")


FLOOD = """
import os, socket, sys, time
held = []
while True:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.setblocking(False)
    try:
        connection.connect(bytes.fromhex(sys.argv[1]))
        connection.send(os.urandom(100))
    except OSError:
        connection.close()
    else:
        held.append(connection)
    if len(held) > 500:
        held.pop(0).close()
    time.sleep(0.001)
"""


async def test_false_names_do_not_keep_it_from_the_right_one(authority, names_of_this_test):
    squatters = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(20)]
    for number, squatter in enumerate(squatters):
        squatter.bind(b"\0" + names_of_this_test + b"%d" % number)
        squatter.listen(1)
    try:
        async with Older(gateway(authority, generation=1)):
            inherited = await taking.take_over(gateway(authority, generation=2))
            await inherited.confirm()
            inherited.close()
    finally:
        for squatter in squatters:
            squatter.close()


async def test_with_false_names_alone_it_starts_without(authority, names_of_this_test, caplog):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:
        squatter.bind(b"\0" + names_of_this_test + b"false")
        squatter.listen(1)
        async with asyncio.timeout(5):
            assert await taking.take_over(gateway(authority, generation=2)) is None
    assert "starting without" in caplog.text


async def test_a_flood_is_bounded_told_once_and_does_not_keep_the_newer_one_out(authority, names_of_this_test, caplog):
    async with Older(gateway(authority, generation=1)) as older:
        (name,) = abstract_names(names_of_this_test)
        most = 0

        async def flood():
            nonlocal most
            held = []
            try:
                while True:
                    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    connection.setblocking(False)
                    held.append(connection)
                    with contextlib.suppress(OSError):
                        connection.connect(name)
                        connection.send(b"nonsense" if len(held) % 2 else b"\x16\x03\x01\x00")
                    most = max(most, len(older.offering._guests))
                    await asyncio.sleep(0.02)
            finally:
                for connection in held:
                    connection.close()

        flooding = asyncio.create_task(flood())
        try:
            await asyncio.sleep(1)
            inherited = await taking.take_over(gateway(authority, generation=2))
            await inherited.confirm()
            inherited.close()
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
        assert 0 < most <= 16
    assert caplog.text.count("wants a hand-over and is no gateway of it") == 1


async def test_an_application_that_fills_the_queue_does_not_keep_the_newer_one_out(
    authority, names_of_this_test, monkeypatch
):
    monkeypatch.setattr(taking, "INTRODUCED_WITHIN", 4.0)
    monkeypatch.setattr(taking, "_SEARCH_WITHIN", 10.0)
    async with Older(gateway(authority, generation=1)):
        (name,) = abstract_names(names_of_this_test)
        flood = await asyncio.create_subprocess_exec(sys.executable, "-c", FLOOD, name.hex())
        try:
            await asyncio.sleep(0.5)
            inherited = await taking.take_over(gateway(authority, generation=2))
            assert inherited is not None
            await inherited.confirm()
            inherited.close()
        finally:
            flood.kill()
            await flood.wait()


@pytest.mark.parametrize("taken", [True, False])
async def test_it_asks_on_while_somebody_has_its_ports(authority, names_of_this_test, monkeypatch, taken):
    monkeypatch.setattr(taking, "_SEARCH_WITHIN", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setattr(listeners, "REDIRECT_PORT", listener.getsockname()[1])
        if not taken:
            listener.close()
        squatter = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        squatter.bind(b"\0" + names_of_this_test + b"false")
        squatter.listen(1)
        asking = asyncio.create_task(taking.take_over(gateway(authority, generation=2)))
        await asyncio.sleep(2)
        assert asking.done() is not taken
        squatter.close()
        # With no name left there is nobody to ask.
        assert await asking is None
