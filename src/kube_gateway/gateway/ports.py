"""The ports of a gateway: the supervisor opens them, and each worker accepts what comes."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping

from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.listeners import Listeners
from kube_gateway.gateway.pod_hooks import PodHooks
from kube_gateway.gateway.worker_process import WorkerProcess


class Ports:
    """Opens and closes them, and says so to the worker and the hooks. Kinds of ports: see `Listeners`."""

    def __init__(self, hooks: PodHooks, worker: WorkerProcess) -> None:
        self._hooks = hooks
        self._worker = worker
        self._listeners: Listeners | None = None
        self._held_back = False

    @property
    def are_held_back(self) -> bool:
        """Whether workers do not get the `redirect` port yet."""
        return self._held_back

    def inherit(
        self, addresses: Iterable[str], listeners: Mapping[str, tuple[socket.socket, ...]], *, held_back: bool
    ) -> None:
        """Go on with those of an older gateway. `held_back`: what comes by its `redirect` port is its worker's for now."""
        self._held_back = held_back
        self._listeners = Listeners(addresses, inherited=listeners)
        self._hooks.mark(self._listeners.get("redirect"))

    def open(self, addresses: Iterable[str], kinds: Iterable[str]) -> None:
        """Open what of `kinds` is not open. Raises `EnvironmentProblem` when another process of the pod has a port."""
        listeners = self._listeners = self._listeners or Listeners(addresses)
        for kind in kinds:
            if kind not in listeners.kinds():
                opened = listeners.open(kind)
                if kind == "redirect":
                    self._hooks.mark(opened)
                self._listen(kind)

    def close_all_but(self, kinds: Iterable[str]) -> None:
        """Close what is open besides `kinds`, at the worker too."""
        if self._listeners is not None:
            for kind in set(self._listeners.kinds()) - set(kinds):
                self._listeners.close(kind)
                self._worker.send(messages.StopListening(kind=kind))

    def close(self, *, redirect: bool) -> None:
        """Close the tunnels' ports, and with `redirect` all, here: what the worker has of them it closes when it drains."""
        if self._listeners is not None:
            for kind in self._listeners.kinds() if redirect else ("tls", "plain"):
                self._listeners.close(kind)

    def brief(self) -> None:
        """Give a new worker what it is to accept from."""
        if self._listeners is None:
            raise RuntimeError("a worker was started before the ports were open")
        for kind in self._listeners.kinds():
            if kind != "redirect" or not self._held_back:
                self._listen(kind)

    def release(self) -> None:
        """What is redirected is this gateway's from now on."""
        if self._held_back:
            self._held_back = False
            self._listen("redirect")

    async def tunnels_are_known(self) -> None:
        """Wait until no peer takes the port of the TLS tunnels for closed any more."""
        if self._listeners is not None:
            await self._listeners.known("tls")

    def descriptors(self) -> dict[str, tuple[int, ...]]:
        """What a newer gateway gets, by kind."""
        return self._listeners.descriptors() if self._listeners is not None else {}

    def _listen(self, kind: str) -> None:
        for listener in self._listeners.get(kind) if self._listeners is not None else ():
            self._worker.send(messages.Listen(kind=kind), (listener.fileno(),))
