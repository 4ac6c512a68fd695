"""Messages to the worker, in order and whole, however busy it is just now.

The socket takes a few hundred messages; answers about Services come in greater bursts when the watcher is back. What does
not fit waits here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable

from kube_gateway.gateway import worker_messages as messages

_log = logging.getLogger("supervisor")

_MOST_WAITING = 65_536


class WorkerChannel:
    """The supervisor's end of the socket. `overflow` is called when the worker does not read at all."""

    def __init__(self, channel: socket.socket, *, overflow: Callable[[], None]) -> None:
        self._channel = channel
        self._channel.setblocking(False)
        self._overflow = overflow
        self._waiting: deque[tuple[messages.ToWorker, tuple[int, ...]]] = deque()

    def send(self, message: messages.ToWorker, descriptors: tuple[int, ...] = ()) -> None:
        """Send now, or as soon as there is room. The worker gets copies of the descriptors."""
        if not self._waiting:
            if self._sent(message, descriptors):
                return
            asyncio.get_running_loop().add_writer(self._channel, self._flush)
        # The caller may close its own before they are sent.
        self._waiting.append((message, tuple(os.dup(descriptor) for descriptor in descriptors)))
        if len(self._waiting) > _MOST_WAITING:
            _log.error("the worker does not read what it is told")
            self.close()
            self._overflow()

    def close(self) -> None:
        """Forget what waits; the socket stays its owner's."""
        asyncio.get_running_loop().remove_writer(self._channel)
        while self._waiting:
            _close(self._waiting.popleft()[1])

    def _flush(self) -> None:
        while self._waiting:
            message, descriptors = self._waiting[0]
            if not self._sent(message, descriptors):
                return
            self._waiting.popleft()
            _close(descriptors)
        asyncio.get_running_loop().remove_writer(self._channel)

    def _sent(self, message: messages.ToWorker, descriptors: tuple[int, ...]) -> bool:
        """False when there is no room. A message that cannot be sent at all is told and counts as sent."""
        try:
            messages.send(self._channel, message, descriptors)
        except BlockingIOError:
            return False
        except OSError as error:
            _log.warning("the worker does not take %s: %s", type(message).__name__, error)
        return True


def _close(descriptors: tuple[int, ...]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
