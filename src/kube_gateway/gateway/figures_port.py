"""Where the pod's figures are served: the listeners, which are the supervisor's, and the page, which the worker shows.

The supervisor knows what is counted by the kernel, and has privileges; so the worker, which has none, answers whoever
connects, with the text that it was given last.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from kube_gateway.errors import EnvironmentProblem
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.listeners import listen_on
from kube_gateway.model.settings import Settings

_log = logging.getLogger("supervisor")

Send = Callable[[messages.ToWorker, tuple[int, ...]], None]


class FiguresPort:
    """`send` tells the worker, if there is one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._listeners: tuple[socket.socket, ...] = ()
        self._port = 0

    @property
    def is_open(self) -> bool:
        """Whether anybody can ask."""
        return bool(self._listeners)

    def configure(self, settings: Settings, *, addresses: tuple[str, ...]) -> None:
        """Settings are in force: listen where they say."""
        self._open(settings.metrics_port if settings.wanted else 0, addresses)

    def brief(self) -> None:
        """Tell a new worker."""
        if self._listeners:
            self._tell()

    def show(self, page: str) -> None:
        """Answer with this from now on."""
        self._send(messages.ShowFigures(page=page), ())

    def close(self) -> None:
        """Take no more connections of those who want figures."""
        self._open(0, ())

    def _open(self, port: int, addresses: tuple[str, ...]) -> None:
        if port == self._port:
            return
        self._port = port
        for listener in self._listeners:
            listener.close()
        self._listeners = ()
        opened: list[socket.socket] = []
        try:
            for address in addresses if port else ():
                # An older gateway has it too until it has handed over.
                opened.append(listen_on(address, port, shared=True))
        except EnvironmentProblem as error:
            for listener in opened:
                listener.close()
            _log.error("figures are not served: %s", error.message)
        else:
            self._listeners = tuple(opened)
        self._tell()

    def _tell(self) -> None:
        self._send(messages.ServeFigures(), tuple(listener.fileno() for listener in self._listeners))
