"""The supervisor: what lives as long as the gateway.

It holds the listeners and the hooks, so a worker that dies is replaced while connections wait; it holds the identity, and
has it renewed at half its life; it does what the watcher says. The order of a start is what keeps every new connection
whole: identity, listeners, worker, and only then the hooks.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time

from kube_gateway import __version__, _native
from kube_gateway.control import messages as control
from kube_gateway.control.whereabouts import parse_whereabouts
from kube_gateway.errors import KubeGatewayError
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.certificate import CertificateKeeper
from kube_gateway.gateway.cgroups import find_pod_cgroup, given_cgroup
from kube_gateway.gateway.environment import GatewayEnvironment
from kube_gateway.gateway.hook_settings import configure_hooks
from kube_gateway.gateway.inventory import clear_connections
from kube_gateway.gateway.listeners import Listeners
from kube_gateway.gateway.logs import set_debug
from kube_gateway.gateway.services import ServiceQuestions, sampled
from kube_gateway.gateway.watcher_connection import WatcherConnection
from kube_gateway.gateway.watcher_link import WatcherLink
from kube_gateway.gateway.worker_process import WorkerProcess, start_message
from kube_gateway.model.flow import GatewaySnapshot

_log = logging.getLogger("supervisor")

_REPORT_EVERY = 1.0
_TERM_GRACE = 30.0
_DRAIN_POLL = 0.1


class Supervisor:
    """Runs the gateway of one pod until it is told to leave."""

    def __init__(self, environment: GatewayEnvironment) -> None:
        self._environment = environment
        # First, as it may be of no use, and then nothing else is.
        self._certificate = CertificateKeeper(
            # The link comes below: it says Hello for the certificate too.
            request=lambda request: self._link.send(request),  # noqa: PLW0108
            use=self._use_identity,
            initial=environment.identity,
        )
        self._hooks = _native.Hooks()
        given = environment.cgroup
        self._cgroup = find_pod_cgroup(self._hooks) if given is None else given_cgroup(given)
        _log.info("the pod's cgroup: %s", self._cgroup.how)
        self._settings: control.Configure | None = None
        self._listeners: Listeners | None = None
        self._state = "starting"
        self._attached = False
        self._snapshot = GatewaySnapshot()
        self._active = 0
        self._enrolled: tuple[str, ...] = ()
        self._states_seen = 0
        self._ended: asyncio.Future[None] | None = None
        self._drain_task: asyncio.Task[None] | None = None
        self._connection = WatcherConnection(
            environment.control, watcher=environment.watcher, identity=lambda: self._certificate.current
        )
        self._link = WatcherLink(
            self._connection.connect,
            hello=self._hello,
            on_connect=self._watcher_is_there,
            on_disconnect=lambda: self._worker.send(messages.SetWatcher(is_there=False)),
            on_message=self._from_watcher,
        )
        self._services = ServiceQuestions()
        self._worker = WorkerProcess(
            on_start=self._brief_worker, on_message=self._from_worker, on_end=self._worker_ended
        )
        self._worker_task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Run until the gateway has left. Raises `KubeGatewayError` or `NativeError` when it cannot go on."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)
        if self._environment.settings is not None:
            self._configure(self._environment.settings)
        tasks = [
            asyncio.create_task(self._link.run()),
            asyncio.create_task(self._report_forever()),
            asyncio.create_task(self._certificate.run()),
        ]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        try:
            await self._ended
        finally:
            for task in [*tasks, *filter(None, (self._worker_task, self._drain_task))]:
                task.cancel()
            await asyncio.gather(*tasks, *filter(None, (self._worker_task,)), return_exceptions=True)

    # What the watcher says.

    def _watcher_is_there(self) -> None:
        self._certificate.connected()
        self._worker.send(messages.SetWatcher(is_there=True))
        # The watcher tells changes of what it was asked on this connection.
        for address, port in self._services:
            self._link.send(control.ServiceQuery(address=address, port=port))

    def _from_watcher(self, message: control.FromWatcher) -> None:
        try:
            match message:
                case control.Configure():
                    self._configure(message)
                case control.Certificate():
                    self._certificate.issued(message)
                case control.PeerAnswer():
                    self._worker.send(messages.Answer(address=message.address, enrolled=message.enrolled))
                case control.ServiceAnswer():
                    service = sampled(message.service) if message.service else None
                    self._worker.send(
                        messages.ServiceAnswer(address=message.address, port=message.port, service=service)
                    )
                case control.Flush():
                    ended = _native.destroy_connections(list(message.cookies))
                    _log.info("ended %d connections that were in clear", ended)
                case control.Leave():
                    self._begin_drain(message.grace, leaving=True)
                case control.Elsewhere():
                    self._connection.try_next(parse_whereabouts(message.control) if message.control else None)
                    self._link.reconnect()
        except (KubeGatewayError, _native.NativeError) as error:
            self._fail(error)

    def _configure(self, message: control.Configure) -> None:
        if self._state == "draining":
            return
        set_debug(debug=message.settings.debug)
        first = self._settings is None
        self._settings = message
        if self._listeners is None:
            self._listeners = Listeners(message.addresses)
        wanted = "tls" if message.settings.encrypting else "plain"
        unwanted = "plain" if wanted == "tls" else "tls"
        self._configure_hooks(capture=True)
        for kind in ("redirect", wanted):
            if kind not in self._listeners.kinds():
                self._open(self._listeners, kind)
        self._send_mode()
        if unwanted in self._listeners.kinds():
            self._listeners.close(unwanted)
            self._worker.send(messages.StopListening(kind=unwanted))
        self._start_worker()
        if first:
            _log.info("settings: encryption %s", message.settings.encryption)
        else:
            _log.info("settings changed: encryption %s", message.settings.encryption)
            self._report()

    def _open(self, listeners: Listeners, kind: str) -> None:
        for listener in listeners.open(kind):
            if kind == "redirect":
                self._hooks.mark_listener(listener.fileno())
            self._worker.send(messages.Listen(kind=kind), (listener.fileno(),))

    # Identity.

    def _use_identity(self) -> None:
        if self._worker_task is not None:
            self._send_identity()
        self._start_worker()

    def _start_worker(self) -> None:
        """Start it once settings and identity are both there, in whichever order they came."""
        if self._worker_task is None and self._settings is not None and self._certificate.current is not None:
            self._worker_task = asyncio.create_task(self._worker.run())
            self._worker_task.add_done_callback(self._task_ended)

    # The worker.

    def _brief_worker(self, worker: WorkerProcess) -> None:
        """Tell a new worker everything; its `Ready` comes when all of it is in effect."""
        if self._settings is None or self._listeners is None:
            raise RuntimeError("a worker was started before its settings were known")
        worker.send(*start_message(self._settings.addresses, self._hooks.shared_maps()))
        self._send_identity()
        self._send_mode()
        worker.send(messages.RememberEnrolled(addresses=self._enrolled))
        worker.send(messages.SetWatcher(is_there=self._link.connected))
        for kind in self._listeners.kinds():
            for listener in self._listeners.get(kind):
                worker.send(messages.Listen(kind=kind), (listener.fileno(),))
        if self._state == "draining":
            worker.send(messages.Drain())
        worker.send(messages.AreYouReady())

    def _send_identity(self) -> None:
        current = self._certificate.current
        if current is not None:
            self._worker.send(
                messages.UseIdentity(
                    chain=current.chain,
                    key=current.key,
                    trust_bundle=current.trust_bundle,
                    trust_domain=current.trust_domain,
                )
            )

    def _send_mode(self) -> None:
        if self._settings is not None:
            settings = self._settings.settings
            self._worker.send(messages.SetMode(mode=settings.encryption, debug=settings.debug))

    def _from_worker(self, message: messages.FromWorker) -> None:
        match message:
            case messages.State():
                self._snapshot, self._active = message.snapshot, message.active
                self._states_seen += 1
                self._enrolled = tuple(peer.address for peer in message.snapshot.peers if peer.state == "enrolled")
                self._report()
            case messages.Query():
                self._link.send(control.PeerQuery(address=message.address))
            case messages.ServiceQuery():
                self._services.add(message.address, message.port)
                self._link.send(control.ServiceQuery(address=message.address, port=message.port))
            case messages.Failed():
                _log.error("the worker: %s", message.reason)
            case messages.Ready():
                self._worker_ready()

    def _worker_ready(self) -> None:
        try:
            if not self._attached:
                self._hooks.attach(str(self._cgroup.path))
                self._attached = True
        except _native.NativeError as error:
            self._fail(error)
            return
        if self._state == "starting":
            self._state = "ready"
            _log.info("ready: generation %d of %s", self._environment.generation, self._environment.pod)
        self._report()

    def _worker_ended(self) -> None:
        self._snapshot, self._active = GatewaySnapshot(), 0

    # Leaving.

    def _terminate(self) -> None:
        strict = self._settings is not None and self._settings.settings.encryption == "strict"
        self._begin_drain(_TERM_GRACE, leaving=not strict)

    def _begin_drain(self, grace: float, *, leaving: bool) -> None:
        """Let connections finish, then end. `leaving`: new ones go direct from now on, and the hooks go at the end; if
        not (a strict pod's gateway is being stopped), the hooks stay and refuse."""
        if self._state == "draining":
            return
        _log.info("leaving: old connections have %g s to finish", grace)
        self._state = "draining"
        try:
            if leaving and self._settings is not None:
                self._configure_hooks(capture=False)
        except _native.NativeError as error:
            self._fail(error)
            return
        if self._listeners is not None:
            for kind in ("tls", "plain"):
                self._listeners.close(kind)
        self._worker.send(messages.Drain())
        self._drain_task = asyncio.create_task(self._drain(grace, leaving=leaving))
        self._drain_task.add_done_callback(self._task_ended)
        self._report()

    async def _drain(self, grace: float, *, leaving: bool) -> None:
        deadline = time.monotonic() + grace
        if self._worker_task is not None:
            # One whole report after the drain began, so that what is still under way has been counted.
            seen = self._states_seen + 2
            while time.monotonic() < deadline and not (self._states_seen >= seen and self._active == 0):
                await asyncio.sleep(_DRAIN_POLL)
        if self._active:
            _log.warning("%d connections did not finish in time and are reset", self._active)
        if leaving and self._attached:
            _native.remove_hooks(str(self._cgroup.path))
            self._attached = False
        _log.info("left")
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    # Reporting, failing.

    def _configure_hooks(self, *, capture: bool) -> None:
        if self._settings is not None:
            configure_hooks(
                self._hooks,
                self._settings.settings,
                addresses=self._settings.addresses,
                gateway_cgroup=self._cgroup.own,
                capture=capture,
            )

    def _hello(self) -> control.Hello:
        environment = self._environment
        return control.Hello(
            pod=environment.pod,
            uid=environment.uid,
            generation=environment.generation,
            version=__version__,
        )

    def _report(self) -> None:
        if self._settings is None or not self._link.connected:
            return
        try:
            clear = clear_connections(own_addresses=self._settings.addresses, gateway_cgroup=self._cgroup.own)
            counters = {**self._snapshot.counters, **self._hooks.counters()}
        except _native.NativeError as error:
            _log.error("%s", error.args[0])
            return
        self._link.send(
            control.Report(
                state=self._state,
                settings_revision=self._settings.revision,
                certificate_expires=self._certificate.expires,
                clear_connections=clear,
                snapshot=GatewaySnapshot(counters=counters, peers=self._snapshot.peers),
            )
        )

    async def _report_forever(self) -> None:
        """While there is no worker whose state could be passed on."""
        while True:
            if self._worker_task is None:
                self._report()
            await asyncio.sleep(_REPORT_EVERY)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)
