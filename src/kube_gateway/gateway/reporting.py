"""What a gateway tells its watcher of itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from kube_gateway import __version__, _native
from kube_gateway.control import messages
from kube_gateway.gateway.certificate import CertificateKeeper
from kube_gateway.gateway.environment import GatewayEnvironment
from kube_gateway.gateway.figures_page import Shown
from kube_gateway.gateway.identity_use import IdentityUse
from kube_gateway.gateway.inventory import Inventory
from kube_gateway.gateway.refusals import Refusals
from kube_gateway.gateway.watcher_link import WatcherLink
from kube_gateway.model.ai_report import AiReport
from kube_gateway.model.flow import ClearConnection, GatewaySnapshot
from kube_gateway.model.identity_report import IdentityReport
from kube_gateway.model.sent import SentReport
from kube_gateway.model.settings import Settings

_log = logging.getLogger("supervisor")


class Reporter:
    """Reports over `link`, of the pod whose cgroup is at `pod`.

    `hooks` and `cgroups` (of the pod's gateways) are what they are at that moment, as are `ai` and `sent`. `clear` is how
    many connections stood in clear when it was last looked; `on_clear` is told of those that are reported.
    """

    def __init__(
        self,
        link: WatcherLink,
        *,
        pod: Path,
        certificate: CertificateKeeper,
        identity: IdentityUse,
        hooks: Callable[[], _native.Hooks],
        cgroups: Callable[[], Collection[int]],
        control_port: int,
        ai: Callable[[], AiReport | None],
        sent: Callable[[], SentReport | None],
        on_clear: Callable[[tuple[ClearConnection, ...]], None] = lambda _: None,
    ) -> None:
        self._link = link
        self._on_clear = on_clear
        self.inventory = Inventory(pod)
        self._certificate, self._identity = certificate, identity
        self._hooks, self._cgroups, self._ai, self._sent = hooks, cgroups, ai, sent
        self.clear = 0
        self._control_port = control_port
        self._refusals = Refusals()

    def standing(self, settings: messages.Configure) -> int:
        """How many connections stand in clear: as it was reported, or, while the watcher is away, as it is now."""
        if not self._link.connected:
            try:
                self.clear = self.inventory.look(
                    own_addresses=settings.addresses, gateway_cgroups=self._cgroups(), control_port=self._control_port
                ).standing
            except _native.NativeError as error:
                _log.error("%s", error.args[0])
        return self.clear

    def shown(self, settings: Settings, snapshot: GatewaySnapshot, *, sent: SentReport | None) -> Shown | None:
        """What figures are made of; None, which is logged, if the counters cannot be read."""
        try:
            counters = {**snapshot.counters, **self._hooks().counters()}
        except _native.NativeError as error:
            _log.error("%s", error.args[0])
            return None
        return Shown(
            settings=settings,
            sent=sent,
            counters=counters,
            clear=self.clear,
            certificate_expires=self._certificate.expires,
        )

    def report(self, state: str, settings: messages.Configure | None, snapshot: GatewaySnapshot) -> None:
        """Say how things are, if the watcher is there and has said what is to be; whom the gate refused, in any case."""
        if state == "ready":
            self._refusals.tell(self._hooks())
        if settings is None or not self._link.connected:
            return
        try:
            report = make_report(
                state=state,
                settings=settings,
                certificate_expires=self._certificate.expires,
                hooks=self._hooks(),
                inventory=self.inventory,
                snapshot=snapshot,
                gateway_cgroups=self._cgroups(),
                control_port=self._control_port,
                ai=self._ai(),
                sent=self._sent(),
                identity=self._identity.report(renews_at=self._certificate.renews_at),
            )
        except _native.NativeError as error:
            _log.error("%s", error.args[0])
        else:
            self.clear = report.snapshot.counters["clear_standing"]
            self._link.send(report)
            self._on_clear(report.clear_connections)


def hello(environment: GatewayEnvironment) -> messages.Hello:
    """What a gateway says first."""
    return messages.Hello(
        pod=environment.pod, uid=environment.uid, generation=environment.generation, version=__version__
    )


def make_report(
    *,
    state: str,
    settings: messages.Configure,
    certificate_expires: float,
    hooks: _native.Hooks,
    inventory: Inventory,
    snapshot: GatewaySnapshot,
    gateway_cgroups: Collection[int],
    control_port: int,
    ai: AiReport | None = None,
    sent: SentReport | None = None,
    identity: IdentityReport | None = None,
) -> messages.Report:
    """The state of everything at this moment; `snapshot` is the worker's last. Raises `NativeError`."""
    clear = inventory.look(own_addresses=settings.addresses, gateway_cgroups=gateway_cgroups, control_port=control_port)
    counters = {**snapshot.counters, **hooks.counters(), "clear_standing": clear.standing}
    return messages.Report(
        state=state,
        settings_revision=settings.revision,
        certificate_expires=certificate_expires,
        clear_connections=clear.reported,
        snapshot=msgspec.structs.replace(snapshot, counters=counters),
        ai=ai,
        sent=sent,
        identity=identity,
    )
