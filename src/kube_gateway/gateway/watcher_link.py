"""The gateway's line to its watcher: connects, says who it is, and connects again for as long as the gateway lives.

While the watcher is away the gateway goes on with what it last knew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from kube_gateway.control import messages

_log = logging.getLogger("supervisor")

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_LONGEST_LINE = 4 * 1024 * 1024


class WatcherLink:
    """`hello` makes the first message of each connection; `on_message` gets everything the watcher says."""

    def __init__(
        self,
        socket: Path,
        *,
        hello: Callable[[], messages.Hello],
        on_connect: Callable[[], None],
        on_message: Callable[[messages.FromWatcher], None],
    ) -> None:
        self._socket = socket
        self._hello = hello
        self._on_connect = on_connect
        self._on_message = on_message
        self._writer: asyncio.StreamWriter | None = None

    @property
    def connected(self) -> bool:
        """Whether the watcher is there."""
        return self._writer is not None

    def send(self, message: messages.FromGateway) -> bool:
        """Say something; false if the watcher is away."""
        if self._writer is None or self._writer.is_closing():
            return False
        self._writer.write(messages.encode(message))
        return True

    async def run(self) -> None:
        """Stay connected until cancelled."""
        pause = _FIRST_PAUSE
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=_LONGEST_LINE)
            except OSError as error:
                if pause == _FIRST_PAUSE:
                    _log.warning("the watcher is away (%s), trying again", error.strerror or error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            try:
                self._writer = writer
                self.send(self._hello())
                self._on_connect()
                pause = await self._listen(reader, pause)
            finally:
                self._writer = None
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _listen(self, reader: asyncio.StreamReader, pause: float) -> float:
        """Hand on messages until the connection ends; returns the pause before the next try."""
        try:
            while line := await reader.readline():
                self._on_message(messages.decode_from_watcher(line))
                pause = _FIRST_PAUSE
        except (OSError, ValueError) as error:
            _log.warning("lost the watcher: %s", error)
            return pause
        _log.warning("the watcher closed the connection")
        return pause
