"""How a gateway ends: it takes nothing new any more, and the connections that there are may finish."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from kube_gateway.control.messages import Configure
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.containers import application_ended
from kube_gateway.gateway.drain import Drain, Load
from kube_gateway.gateway.pod_hooks import PodHooks
from kube_gateway.gateway.tasks import Tasks
from kube_gateway.gateway.worker_process import WorkerProcess

Ending = Literal["leaving", "stopping", "handed over"]
"""Leaving: new connections go direct from now on, and the hooks go at the end. Stopping (a strict pod's gateway is told to
end, or the pod ends): the hooks stay and refuse. Handed over: they are another gateway's."""

_log = logging.getLogger("supervisor")


class Departure:
    """Ends the work of one gateway, once.

    `load` is what its worker has reported, `close` closes the ports that nothing new is to come in by, `on_end` is called
    when all is done.
    """

    def __init__(
        self,
        tasks: Tasks,
        *,
        hooks: PodHooks,
        worker: WorkerProcess,
        load: Callable[[], Load],
        close: Callable[[Ending], None],
        on_end: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._hooks = hooks
        self._worker = worker
        self._load = load
        self._close = close
        self._on_end = on_end
        self._drain: Drain | None = None

    async def outlast_application(self) -> None:
        """Wait until nothing else of the pod runs.

        A pod that ends tells all of its containers at once, and its application may be asked things for a while yet: that
        is what preStop hooks are for. Its peers go on to count on the gateway until then.
        """
        _log.info("the pod is ending: serving for as long as its application runs")
        try:
            await application_ended(self._hooks.cgroup.path, gateways=lambda: self._hooks.gateways)
        except OSError as error:
            _log.warning("cannot tell whether the application runs: %s", error.strerror)

    def begin(self, grace: float, ending: Ending, *, settings: Configure | None) -> None:
        """Let connections finish, for `grace` seconds at most, and end. The second time: for that long at most.

        Raises `NativeError` if the hooks cannot be told.
        """
        if self._drain is not None:
            self._drain.shorten(grace)
            return
        _log.info("%s: old connections have %g s to finish", ending, grace)
        self._drain = Drain(grace)
        # An older gateway that has not heard that this one works goes on, and the hooks are its own.
        self._tasks.stop("take over", "attach", "offer")
        if ending == "leaving" and self._hooks.in_charge:
            self._hooks.configure(settings, capture=False)
        if ending == "handed over":
            self._hooks.native.unguard()
            self._tasks.stop("certificate")
            self._worker.send(messages.StopListening(kind="redirect"))
        self._close(ending)
        self._worker.send(messages.Drain())
        self._tasks.run("drain", self._finish(self._drain, ending))

    async def _finish(self, drain: Drain, ending: Ending) -> None:
        unfinished = await drain.wait(self._load) if "worker" in self._tasks else 0
        if unfinished:
            _log.warning("%d connections did not finish in time and are reset", unfinished)
        if ending == "leaving":
            self._hooks.remove()
        _log.info("left")
        self._on_end()
