"""The supervisor: what lives as long as the gateway.

It holds the listeners and the hooks, so a worker that dies is replaced while connections wait; it holds the identity, and
has it renewed at half its life; it does what the watcher says. The order of a start is what keeps every new connection
whole: identity, listeners, worker, and only then the hooks. A later generation begins by asking an older one for them.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from kube_gateway import _native
from kube_gateway.control import messages as control
from kube_gateway.control.whereabouts import parse_whereabouts
from kube_gateway.errors import EnvironmentProblem, KubeGatewayError
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.access_control import AccessControl
from kube_gateway.gateway.accounting import Accounting
from kube_gateway.gateway.call_control import CallControl
from kube_gateway.gateway.certificate import CertificateKeeper
from kube_gateway.gateway.counting import Counting
from kube_gateway.gateway.departure import Departure, Ending
from kube_gateway.gateway.drain import HANDED_OVER_GRACE, Load
from kube_gateway.gateway.environment import GatewayEnvironment
from kube_gateway.gateway.handover.own import Own
from kube_gateway.gateway.handover.succession import Succession
from kube_gateway.gateway.identity_use import IdentityUse
from kube_gateway.gateway.logs import set_debug
from kube_gateway.gateway.pod_hooks import PodHooks
from kube_gateway.gateway.ports import Ports
from kube_gateway.gateway.reporting import Reporter, hello
from kube_gateway.gateway.services import Questions
from kube_gateway.gateway.tasks import Tasks
from kube_gateway.gateway.watcher_connection import WatcherConnection
from kube_gateway.gateway.watcher_link import WatcherLink
from kube_gateway.gateway.worker_process import WorkerProcess, mode_message, spelled, start_message
from kube_gateway.model.flow import ClearConnection, GatewaySnapshot

_log = logging.getLogger("supervisor")

_REPORT_EVERY = 1.0
_TERM_GRACE = 30.0
_LAST_GRACE = 5.0
"""Seconds for what an application that has ended said last. Its peers may keep their ends open for longer."""


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
        self._hooks = PodHooks(
            environment,
            others=lambda: self._succession.others,
            makers=lambda: self._succession.makers,
            closed=lambda: self._access.closed,
        )
        self._settings: control.Configure | None = None
        self._state = "starting"
        self._snapshot = GatewaySnapshot()
        self._load = Load()
        self._enrolled: tuple[str, ...] = ()
        self._ended: asyncio.Future[None] | None = None
        self._tasks = Tasks(self._fail)
        self._begun = environment.generation == 1
        self._succession = Succession(
            own=self._own,
            listeners=lambda: self._ports.descriptors(),  # noqa: PLW0108 - made below, with the worker
            maps=self._hooks.maps,
            enrolled=lambda: self._enrolled,
            seen=lambda: self._reporter.inventory.seen(),  # noqa: PLW0108 - made below
            policy=lambda: self._calls.offer(),  # noqa: PLW0108 - made below, as it tells the worker
            authorization=lambda: self._access.offer(),  # noqa: PLW0108 - as well
            revoked=lambda: self._identity.revoked,
            on_change=self._gateways_changed,
            on_handed_over=lambda: self._depart(HANDED_OVER_GRACE, "handed over"),
        )
        self._connection = WatcherConnection(
            environment.control, watcher=environment.watcher, identity=lambda: self._certificate.current
        )
        self._link = WatcherLink(
            self._connection.connect,
            hello=lambda: hello(environment),
            on_connect=self._watcher_is_there,
            on_disconnect=lambda: self._worker.send(messages.SetWatcher(is_there=False)),
            on_message=self._from_watcher,
            longest_pause=1.0 if environment.control.path else 5.0,
        )
        self._worker = WorkerProcess(
            on_start=self._brief_worker, on_message=self._from_worker, on_end=self._worker_ended
        )
        self._ports = Ports(self._hooks, self._worker)
        self._departure = Departure(
            self._tasks,
            hooks=self._hooks,
            worker=self._worker,
            load=lambda: self._load,
            close=self._close_ports,
            on_end=self._end,
        )
        self._identity = IdentityUse(self._worker.send)
        self._questions = Questions(ask=self._link.send, tell=self._worker.send)
        self._access = AccessControl(self._worker.send)
        self._calls = CallControl(self._worker.send, pod=environment.pod)
        self._accounting = Accounting(
            environment, hooks=lambda: self._hooks.native, identity=lambda: self._certificate.current
        )
        self._reporter = Reporter(
            self._link,
            pod=self._hooks.cgroup.path,
            certificate=self._certificate,
            identity=self._identity,
            hooks=lambda: self._hooks.native,
            cgroups=lambda: self._hooks.ours,
            control_port=environment.control.port,
            ai=lambda: self._calls.report,
            sent=lambda: self._accounting.report,
            on_clear=self._end_bypasses,
        )
        self._counting = Counting(self._worker.send, accounting=self._accounting, reporter=self._reporter)

    async def run(self) -> None:
        """Run until the gateway has left. Raises `KubeGatewayError` or `NativeError` when it cannot go on."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._depart, _TERM_GRACE, "leaving")
        if self._environment.settings is not None:
            self._configure(self._environment.settings)
        self._tasks.run("link", self._link.run())
        self._tasks.run("report", self._report_forever())
        self._tasks.run("certificate", self._certificate.run())
        try:
            await self._ended
        finally:
            await self._tasks.stop_all()

    # What the watcher says.

    def _watcher_is_there(self) -> None:
        self._certificate.connected()
        self._worker.send(messages.SetWatcher(is_there=True))
        self._questions.connected()

    def _from_watcher(self, message: control.FromWatcher) -> None:
        try:
            match message:
                case control.Configure():
                    self._configure(message)
                case control.Authorize():
                    self._authorize(message)
                case control.UsePolicy():
                    self._calls.use(message)
                case control.Certificate() | control.Trust() | control.Renew():
                    self._certificate.told(message)
                case control.Revoked():
                    self._identity.revoke(message.uids)
                case control.PeerAnswer() | control.ServiceAnswer():
                    self._questions.answered(message)
                case control.ReceiptQuery() if self._settings is not None:
                    self._link.send(self._accounting.receipt(message, settings=self._settings.settings))
                case control.Flush():
                    ended = _native.destroy_connections(list(message.cookies))
                    _log.info("ended %d connections that were in clear", ended)
                case control.Leave():
                    self._depart(message.grace, "leaving")
                case control.Elsewhere():
                    leader = parse_whereabouts(message.control) if message.control else None
                    self._link.reconnect(soon=self._connection.try_next(leader))
        except (KubeGatewayError, _native.NativeError) as error:
            self._fail(error)

    def _configure(self, message: control.Configure) -> None:
        if self._state == "draining":
            return
        set_debug(debug=message.settings.debug)
        before, self._settings = self._settings, message
        self._access.expect(rules=message.authorize)
        if before is None:
            _log.info("settings: %s", spelled(message.settings))
        elif before.settings != message.settings:
            _log.info("settings changed: %s", spelled(message.settings))
        if self._begun:
            self._apply(message)
        else:
            self._begin()
        self._report()

    def _authorize(self, message: control.Authorize) -> None:
        self._access.use(message)
        if self._begun:
            self._gateways_changed()
            self._start_worker()

    def _end_bypasses(self, clear: tuple[ClearConnection, ...]) -> None:
        # Before it is known which gateways there are, their tunnels look like connections in clear.
        if self._state == "ready" and self._settings is not None:
            self._access.end_bypasses(clear, self._settings)

    def _apply(self, message: control.Configure) -> None:
        wanted = [kind for kind in ("redirect", message.settings.tunnel) if kind]
        self._hooks.configure(self._settings, capture=True)
        self._calls.configure(message.settings)
        self._counting.port.configure(message.settings, addresses=message.addresses)
        try:
            self._ports.open(message.addresses, wanted)
        except EnvironmentProblem:
            if self._is_strict:
                # Somebody of the pod has the port. Whoever that is must not get by it what there is no gateway for.
                self._hooks.attach()
            raise
        self._send_mode()
        self._ports.close_all_but(wanted)
        self._start_worker()

    @property
    def _is_strict(self) -> bool:
        return self._settings is not None and self._settings.settings.encryption == "strict"

    # Taking over from an older gateway of the pod.

    def _own(self) -> Own | None:
        if self._settings is None or self._certificate.current is None:
            return None
        return Own(
            identity=self._certificate.current,
            addresses=self._settings.addresses,
            uid=self._environment.uid,
            generation=self._environment.generation,
            cgroup=self._hooks.cgroup.own,
        )

    def _begin(self) -> None:
        if not self._begun and "take over" not in self._tasks and self._own() is not None:
            self._tasks.run("take over", self._take_over())

    async def _take_over(self) -> None:
        inherited = await self._succession.take_over()
        if self._settings is None:
            raise RuntimeError("a gateway took over before its settings were known")
        if inherited is not None:
            if inherited.maps:
                self._hooks.inherit(inherited.maps)
            # With maps of its own, what the old programs have redirected is the old worker's until they are gone.
            self._ports.inherit(self._settings.addresses, inherited.listeners, held_back=not inherited.maps)
            inherited.close_maps()
            self._enrolled = inherited.enrolled
            self._reporter.inventory.inherit(inherited.seen)
            if inherited.authorization is not None:
                self._access.inherit(inherited.authorization)
            self._identity.inherit(inherited.revoked)
            if inherited.policy is not None:
                self._calls.inherit(*inherited.policy)
        self._begun = True
        self._apply(self._settings)

    def _gateways_changed(self) -> None:
        """Another gateway of the pod has come or gone: the hooks have to leave its sockets alone, or need not any more."""
        if self._state != "draining" and self._begun:
            self._hooks.configure(self._settings, capture=True)

    # Identity.

    def _use_identity(self) -> None:
        self._identity.use(self._certificate.current)
        if self._begun:
            self._start_worker()
        else:
            self._begin()

    def _start_worker(self) -> None:
        """Start it once settings and identity are both there, and rules if there are any, in whichever order they came."""
        if "worker" in self._tasks or self._own() is None:
            return
        if self._access.known:
            self._tasks.run("worker", self._worker.run())
        elif "rules" not in self._tasks:
            self._tasks.run("rules", self._wait_for_rules())

    async def _wait_for_rules(self) -> None:
        await self._access.wait()
        self._start_worker()

    # The worker.

    def _brief_worker(self, worker: WorkerProcess) -> None:
        """Tell a new worker everything; its `Ready` comes when all of it is in effect."""
        if self._settings is None:
            raise RuntimeError("a worker was started before its settings were known")
        worker.send(*start_message(self._settings.addresses, self._hooks.native.shared_maps()))
        self._send_mode()
        worker.send(messages.RememberEnrolled(addresses=self._enrolled))
        # It reports as soon as it has an identity, and what it does not know by then would be forgotten here as well.
        self._identity.brief(self._certificate.current)
        worker.send(messages.SetWatcher(is_there=self._link.connected))
        self._access.brief()
        self._calls.brief()
        self._counting.port.brief()
        self._ports.brief()
        if self._state == "draining":
            worker.send(messages.Drain())
        worker.send(messages.AreYouReady())

    def _send_mode(self) -> None:
        if self._settings is not None:
            self._worker.send(mode_message(self._settings.settings))

    def _from_worker(self, message: messages.FromWorker) -> None:
        match message:
            case messages.State():
                self._snapshot = message.snapshot
                self._identity.taken(message.identity)
                self._load = Load(active=message.active, reports=self._load.reports + 1)
                self._enrolled = tuple(peer.address for peer in message.snapshot.peers if peer.enrolled)
                self._report()
            case messages.CallState():
                if self._calls.heard(message.ai):
                    self._report()
            case messages.Query() | messages.ServiceQuery():
                self._questions.asked(message)
            case messages.Failed():
                _log.error("the worker: %s", message.reason)
            case messages.Ready():
                if self._state == "starting" and "attach" not in self._tasks:
                    self._tasks.run("attach", self._attach())
                self._report()

    async def _attach(self) -> None:
        """The worker is ready: put the hooks on the pod, or our programs in the place of an older gateway's.

        Over the same maps that can be done while both accept, and before the older one is told: it goes on as before if
        this one ends now. With maps of our own the older one has to stop first, and what is being set up in the
        milliseconds between is lost: each worker finds in its own maps only where a connection wanted to go.
        """
        await self._calls.decided()
        if self._is_strict:
            await self._ports.tunnels_are_known()
        self._hooks.native.guard()
        if self._ports.are_held_back:
            await self._succession.confirm()
        self._hooks.attach()
        self._reporter.inventory.hooks_are_in_place()
        if self._ports.are_held_back:
            self._ports.release()
        else:
            await self._succession.confirm()
        self._hooks.in_charge = True
        self._state = "ready"
        _log.info("ready: generation %d of %s", self._environment.generation, self._environment.pod)
        self._tasks.run("offer", self._succession.offer())
        self._report()

    def _worker_ended(self) -> None:
        self._snapshot = GatewaySnapshot()
        self._load = Load(reports=self._load.reports)

    # Ending.

    def _terminate(self) -> None:
        """In a cluster the whole pod is ending: what its application still says on its way out is not to be in clear.

        By hand (SIGINT) a gateway is told to undo its hooks and leave.
        """
        if self._environment.cgroup is not None:
            self._depart(_TERM_GRACE, "stopping" if self._is_strict else "leaving")
        elif "application" not in self._tasks:
            self._tasks.run("application", self._end_with_application())

    async def _end_with_application(self) -> None:
        await self._departure.outlast_application()
        self._depart(_LAST_GRACE, "stopping")

    def _depart(self, grace: float, ending: Ending) -> None:
        self._state = "draining"
        try:
            self._departure.begin(grace, ending, settings=self._settings)
        except _native.NativeError as error:
            self._fail(error)
        else:
            self._report()

    def _close_ports(self, ending: Ending) -> None:
        self._counting.port.close()
        self._ports.close(redirect=ending == "handed over")

    def _end(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    # Reporting, failing.

    def _report(self) -> None:
        self._reporter.report(self._state, self._settings, self._snapshot)

    async def _report_forever(self) -> None:
        """While there is no worker whose state could be passed on."""
        while True:
            self._counting.count(self._settings, self._snapshot)
            if "worker" not in self._tasks:
                self._report()
            # What a gateway carries that takes nothing new any more needs no certificate.
            if self._environment.cgroup is None and not self._link.connected and self._state != "draining":
                self._certificate.check()
            await asyncio.sleep(_REPORT_EVERY)

    def _fail(self, error: BaseException) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)
