"""A line on which nothing is heard is given up, by both sides."""

from __future__ import annotations

import asyncio

from kube_gateway.control import conversation, messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.gateway import watcher_link
from kube_gateway.gateway.watcher_link import WatcherLink

HELLO = messages.Hello(pod="shop/web", uid="1", generation=1, version="0")


class Silent:
    """A watcher that knows nothing and is never asked."""

    def changed(self) -> None:
        """Nobody decides here."""


def link(path, heard) -> WatcherLink:
    return WatcherLink(
        lambda: asyncio.open_unix_connection(str(path)),
        hello=lambda: HELLO,
        on_connect=lambda: None,
        on_disconnect=lambda: None,
        on_message=heard,
        longest_pause=5.0,
    )


async def test_a_watcher_that_says_nothing_is_left_for_another(tmp_path, monkeypatch):
    monkeypatch.setattr(watcher_link, "WATCHER_SILENT_AFTER", 0.2)
    connections = asyncio.Queue()

    async def hang(reader, writer):
        connections.put_nowait(await reader.readline())
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(hang, str(tmp_path / "watcher"))
    task = asyncio.create_task(link(tmp_path / "watcher", lambda _: None).run())
    async with asyncio.timeout(10):
        for _ in range(2):
            assert messages.decode_from_gateway(await connections.get()) == HELLO
    task.cancel()
    server.close()


async def test_a_watcher_with_nothing_new_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(conversation, "HEARTBEAT_EVERY", 0.05)
    monkeypatch.setattr(watcher_link, "WATCHER_SILENT_AFTER", 1.0)
    connections, heard = 0, asyncio.Queue()

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        await reader.readline()
        await conversation.converse(Silent(), ConnectedGateway(), reader=reader, writer=writer, name="shop/web")

    server = await asyncio.start_unix_server(serve, str(tmp_path / "watcher"))
    task = asyncio.create_task(link(tmp_path / "watcher", heard.put_nowait).run())
    async with asyncio.timeout(10):
        for _ in range(30):
            assert await heard.get() == messages.Heartbeat()
    assert connections == 1
    task.cancel()
    server.close()
