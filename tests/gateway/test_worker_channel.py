"""What the supervisor tells its worker arrives in order and whole, also when the worker is busy."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from kube_gateway.gateway import worker_channel as module
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.worker_channel import WorkerChannel


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def overflow_is_an_error():
    pytest.fail("the channel has overflowed")


def received(theirs) -> list[tuple[messages.ToWorker, list[int]]]:
    """All that is there by now, with descriptors."""
    theirs.setblocking(False)
    found = []
    try:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(theirs, messages.PACKET, 8)
            found.append((messages.to_worker.decode(packet), descriptors))
    except BlockingIOError:
        return found


async def all_received(theirs, count: int) -> list[tuple[messages.ToWorker, list[int]]]:
    """So many messages; the first of them were there at once, and not all."""
    found = received(theirs)
    assert 0 < len(found) < count, "the socket takes them all: the test shows nothing"
    while len(found) < count:
        await asyncio.sleep(0.01)
        more = received(theirs)
        assert more
        found += more
    return found


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_more_than_the_socket_takes_arrives_in_order(ends):
    ours, theirs = ends
    channel = WorkerChannel(ours, overflow=overflow_is_an_error)
    told = [messages.ServiceAnswer(address="10.96.0.1", port=port + 1, service=None) for port in range(5000)]
    for message in told:
        channel.send(message)
    found = await all_received(theirs, len(told))
    assert [message for message, _ in found] == told


async def test_descriptors_that_waited_are_those_that_were_given(ends, tmp_path):
    ours, theirs = ends
    channel = WorkerChannel(ours, overflow=overflow_is_an_error)
    for _ in range(1000):
        channel.send(messages.Drain())
    file = os.open(tmp_path, os.O_RDONLY)
    inode = os.fstat(file).st_ino
    channel.send(messages.Listen(kind="tls"), (file,))
    os.close(file)
    message, descriptors = (await all_received(theirs, 1001))[-1]
    assert message == messages.Listen(kind="tls")
    (copy,) = descriptors
    assert os.fstat(copy).st_ino == inode
    os.close(copy)


async def test_a_worker_that_never_reads_is_given_up(ends, monkeypatch):
    monkeypatch.setattr(module, "_MOST_WAITING", 10)
    ours, _ = ends
    given_up = []
    channel = WorkerChannel(ours, overflow=lambda: given_up.append(True))
    for _ in range(2000):
        if not given_up:
            channel.send(messages.Drain())
    assert given_up == [True]


async def test_what_waits_is_forgotten_with_its_descriptors(ends, tmp_path):
    ours, _ = ends
    channel = WorkerChannel(ours, overflow=overflow_is_an_error)
    before = open_descriptors()
    file = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1000):
        channel.send(messages.Listen(kind="tls"), (file,))
    os.close(file)
    assert open_descriptors() > before
    channel.close()
    assert open_descriptors() == before


async def test_a_worker_that_is_gone_is_told_and_no_error(ends, caplog):
    ours, theirs = ends
    channel = WorkerChannel(ours, overflow=overflow_is_an_error)
    theirs.close()
    channel.send(messages.Drain())
    assert "the worker does not take Drain" in caplog.text
