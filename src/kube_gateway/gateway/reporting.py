"""What a gateway tells its watcher of itself."""

from __future__ import annotations

from collections.abc import Collection

from kube_gateway import __version__, _native
from kube_gateway.control import messages
from kube_gateway.gateway.environment import GatewayEnvironment
from kube_gateway.gateway.inventory import clear_connections
from kube_gateway.model.ai_report import AiReport
from kube_gateway.model.flow import GatewaySnapshot


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
    snapshot: GatewaySnapshot,
    gateway_cgroups: Collection[int],
    control_port: int,
    ai: AiReport | None = None,
) -> messages.Report:
    """The state of everything at this moment; `snapshot` is the worker's last. Raises `NativeError`."""
    clear = clear_connections(
        own_addresses=settings.addresses, gateway_cgroups=gateway_cgroups, control_port=control_port
    )
    return messages.Report(
        state=state,
        settings_revision=settings.revision,
        certificate_expires=certificate_expires,
        clear_connections=clear,
        snapshot=GatewaySnapshot(counters={**snapshot.counters, **hooks.counters()}, peers=snapshot.peers),
        ai=ai,
    )
