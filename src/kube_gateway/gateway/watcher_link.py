"""The gateway's line to its watcher: connects, says who it is, and connects again for as long as the gateway lives.

While the watcher is away the gateway goes on with what it last knew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from kube_gateway.control import messages
from kube_gateway.control.conversation import WATCHER_SILENT_AFTER
from kube_gateway.errors import KubeGatewayError

_log = logging.getLogger("supervisor")

_FIRST_PAUSE = 0.1
_MOST_UNSENT = 16 * 1024 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class WatcherLink:
    """`connect` makes a connection, `hello` its first message; `on_message` gets everything the watcher says.

    `connect` raises `OSError` (TLS errors are such) or `KubeGatewayError` when it cannot; it is tried again after pauses
    that grow to `longest_pause` seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Streams]],
        *,
        hello: Callable[[], messages.Hello],
        on_connect: Callable[[], None],
        on_disconnect: Callable[[], None],
        on_message: Callable[[messages.FromWatcher], None],
        longest_pause: float,
    ) -> None:
        self._connect = connect
        self._hello = hello
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._on_message = on_message
        self._longest_pause = longest_pause
        self._writer: asyncio.StreamWriter | None = None
        self._told = ""
        self._soon = False

    @property
    def connected(self) -> bool:
        """Whether the watcher is there."""
        return self._writer is not None

    def send(self, message: messages.FromGateway) -> bool:
        """Say something; false if the watcher is away."""
        if self._writer is None or self._writer.is_closing():
            return False
        if self._writer.transport.get_write_buffer_size() > _MOST_UNSENT:
            self._tell_once("the watcher does not read what it is told")
            self._writer.transport.abort()
            return False
        self._writer.write(messages.encode(message))
        return True

    def reconnect(self, *, soon: bool) -> None:
        """End this connection. With `soon` the next one is made without the pause that has grown."""
        self._soon = soon
        if self._writer is not None:
            self._writer.close()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                reader, writer = await self._connect()
            except (OSError, KubeGatewayError) as error:
                self._tell_once(f"the watcher is away ({_why(error)}), trying again")
                # A watcher that hangs has cost its time already; there may be another behind the same address.
                await asyncio.sleep(max(pause - (time.monotonic() - began), 0.0))
                pause = min(2 * pause, self._longest_pause)
                continue
            try:
                self._writer = writer
                self.send(self._hello())
                self._on_connect()
                pause = await self._listen(reader, pause)
            finally:
                self._writer = None
                self._on_disconnect()
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            soon, self._soon = self._soon, False
            await asyncio.sleep(_FIRST_PAUSE if soon else pause)
            pause = min(2 * pause, self._longest_pause)

    async def _listen(self, reader: asyncio.StreamReader, pause: float) -> float:
        """Hand on messages until the connection ends; returns the pause before the next try."""
        try:
            while line := await _next_line(reader):
                try:
                    message = messages.decode_from_watcher(line)
                except ValueError as error:
                    # Of a newer watcher, perhaps: what was understood stays in force, and the line stays up.
                    _log.warning("the watcher says what this version does not understand: %s", error)
                    continue
                self._told = ""
                self._on_message(message)
                if not isinstance(message, messages.Elsewhere):
                    pause = _FIRST_PAUSE
        except TimeoutError:
            self._tell_once(f"the watcher has said nothing for {WATCHER_SILENT_AFTER:g} s")
            if self._writer is not None:
                # Whoever is silent does not say goodbye either, and TLS would wait half a minute for it.
                self._writer.transport.abort()
            return pause
        except (OSError, ValueError) as error:
            self._tell_once(f"lost the watcher: {_why(error)}")
            return pause
        self._tell_once("the watcher closed the connection")
        return pause

    def _tell_once(self, what: str) -> None:
        if what != self._told:
            self._told = what
            _log.warning("%s", what)


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(WATCHER_SILENT_AFTER):
        return await reader.readline()


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
