"""The line to the watcher: it comes back, it is not lost over a word it does not know, and follows the one that leads."""

from __future__ import annotations

import asyncio
import time

import pytest

from kube_gateway.control import messages
from kube_gateway.errors import IdentityError
from kube_gateway.gateway import watcher_link as module
from kube_gateway.gateway.watcher_link import WatcherLink

HELLO = messages.Hello(pod="default/web", uid="1", generation=1, version="0")
LEAVE = messages.Leave(grace=1.0)


class Watcher:
    """The other end: each connection plays `script`, one line or pause after the other, then stays open or ends."""

    def __init__(self, tmp_path, *, script=(), stays=True, soon=False):
        self.path = str(tmp_path / "control")
        self.script = list(script)
        self.stays = stays
        self.soon = soon
        self.hellos = []
        self.connects = []
        self.disconnects = 0
        self.heard = []
        self.refusals = []
        self.link = WatcherLink(
            self._connect,
            hello=lambda: HELLO,
            on_connect=lambda: self.connects.append(time.monotonic()),
            on_disconnect=self._on_disconnect,
            on_message=self._on_message,
            longest_pause=5.0,
        )

    def _on_disconnect(self):
        assert not self.link.connected
        self.disconnects += 1

    def _on_message(self, message):
        self.heard.append(message)
        if isinstance(message, messages.Elsewhere):
            self.link.reconnect(soon=self.soon)

    async def _connect(self):
        if self.refusals:
            raise self.refusals.pop(0)
        return await asyncio.open_unix_connection(self.path)

    async def _serve(self, reader, writer):
        self.hellos.append(messages.decode_from_gateway(await reader.readline()))
        for line in self.script:
            writer.write(line)
        await writer.drain()
        if self.stays:
            await reader.read()
        writer.close()

    async def play(self, seconds):
        server = await asyncio.start_unix_server(self._serve, self.path)
        running = asyncio.create_task(self.link.run())
        await asyncio.sleep(seconds)
        assert not running.done(), running
        connected = self.link.connected
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
        return connected


async def test_it_introduces_itself_and_hands_on_what_is_said(tmp_path):
    watcher = Watcher(tmp_path, script=[messages.encode(LEAVE)])
    assert await watcher.play(0.2)
    assert watcher.hellos == [HELLO]
    assert watcher.heard == [LEAVE]
    assert len(watcher.connects) == 1


@pytest.mark.parametrize("line", [b'{"type":"Tomorrow"}\n', b'{"type":"Leave","grace":1,"more":2}\n', b"\xff\n"])
async def test_what_is_not_understood_is_told_and_the_line_stays(tmp_path, caplog, line):
    watcher = Watcher(tmp_path, script=[line, messages.encode(LEAVE)])
    assert await watcher.play(0.2)
    assert watcher.heard == [LEAVE]
    assert len(watcher.hellos) == 1
    assert "the watcher says what this version does not understand" in caplog.text


async def test_the_one_that_leads_is_asked_at_once_however_long_none_was_there(tmp_path):
    leader = messages.encode(messages.Elsewhere(control="tls:10.0.0.4:18444"))
    watcher = Watcher(tmp_path, script=[leader], soon=True)
    watcher.refusals = [OSError("not there")] * 4
    # Pauses of 0.1, 0.2, 0.4 and 0.8 seconds come first.
    await watcher.play(3.0)
    assert len(watcher.connects) >= 3


async def test_a_watcher_that_stands_by_is_left_soon_but_not_in_a_hurry(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    watcher = Watcher(tmp_path, script=[messages.encode(messages.Elsewhere(control="tls:10.0.0.4:18444"))])
    await watcher.play(1.0)
    pauses = [later - earlier for earlier, later in zip(watcher.connects, watcher.connects[1:], strict=False)]
    # Sent from one that stands by to another and back, it asks ever more rarely.
    assert 3 <= len(pauses) <= 6
    assert pauses[0] < 0.2
    assert all(pause >= 0.049 * 2**number for number, pause in enumerate(pauses))


async def test_a_watcher_that_answers_makes_the_next_pause_short_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    watcher = Watcher(tmp_path, script=[messages.encode(LEAVE)], stays=False)
    await watcher.play(1.0)
    assert len(watcher.connects) >= 7
    assert len(watcher.connects) - 1 <= watcher.disconnects <= len(watcher.connects)


async def test_it_comes_back_from_errors_of_both_kinds(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.02)
    watcher = Watcher(tmp_path, script=[messages.encode(LEAVE)])
    watcher.refusals = [OSError(111, "Connection refused"), IdentityError("it is not the watcher")]
    assert await watcher.play(0.4)
    assert watcher.heard == [LEAVE]
    assert "the watcher is away (Connection refused), trying again" in caplog.text
    assert "the watcher is away (it is not the watcher), trying again" in caplog.text


async def test_the_same_trouble_is_told_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    watcher = Watcher(tmp_path)
    watcher.refusals = [OSError(111, "Connection refused") for _ in range(4)]
    await watcher.play(0.4)
    assert caplog.text.count("Connection refused") == 1


async def test_a_watcher_that_does_not_read_is_left(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "_MOST_UNSENT", 100_000)
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.05)
    watcher = Watcher(tmp_path)

    async def deaf(reader, writer):
        reader._transport.pause_reading()
        await asyncio.sleep(10)

    watcher._serve = deaf
    playing = asyncio.create_task(watcher.play(1.5))
    await asyncio.sleep(0.3)
    long = messages.CertificateRequest(number=1, csr="x" * 10_000)
    sent = [watcher.link.send(long) for _ in range(500)]
    assert sent[0]
    assert not sent[-1]
    await playing
    assert len(watcher.connects) >= 2
    assert "the watcher does not read what it is told" in caplog.text


async def test_without_a_watcher_nothing_is_sent(tmp_path):
    watcher = Watcher(tmp_path)
    assert not watcher.link.connected
    assert not watcher.link.send(HELLO)
