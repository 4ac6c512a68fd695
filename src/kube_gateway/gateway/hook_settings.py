"""From a pod's settings to what the eBPF hooks are told."""

from __future__ import annotations

import ipaddress
from typing import Literal

from kube_gateway import _native
from kube_gateway.control.messages import Configure
from kube_gateway.gateway.routers import routers
from kube_gateway.model.ports import PLAIN_TUNNEL_PORT
from kube_gateway.model.settings import Settings

STALE_AFTER = 5.0
"""Seconds without a sign of life (one each second) after which the hooks take the worker for hung."""

_EVERYTHING = (("0.0.0.0", 0), ("::", 0))  # noqa: S104 - a prefix, not a listener


def configure_hooks(
    hooks: _native.Hooks,
    told: Configure,
    *,
    gateway_cgroups: tuple[int, ...],
    capture: bool,
    makers: tuple[int, ...] = (),
    control_port: int = 0,
    closed_ports: tuple[int, ...] | Literal["all"] = (),
) -> None:
    """Tell `hooks` what to capture and what to refuse. `capture` false leaves every new connection alone.

    `makers`: see `Succession`. `control_port` is the watcher's, 0 where it is reached in another way. `closed_ports` are
    those of the pod that policies want reached through the tunnel alone. A node may probe the pod from its router too.
    Raises `NativeError`.
    """
    settings = told.settings
    hooks.configure(
        gateway_cgroups=list(gateway_cgroups),
        makers=list(makers),
        capture=capture and not settings.accept_only,
        strict=capture and settings.encryption == "strict",
        addresses=list(told.addresses),
        rules=_rules(settings),
        excluded_ports=list(settings.exclude_ports),
        stale_after=STALE_AFTER,
        gate=_gate(settings, closed_ports) if capture else "open",
        exempt=_exempt(settings, (*told.probe_sources, *routers())),
        probe_ports=list(told.probe_ports),
        served_ports=_served(settings),
        udp=settings.udp if capture else "allow",
        control_port=control_port,
        errands=settings.ai,
    )


def _gate(settings: Settings, closed_ports: tuple[int, ...] | Literal["all"]) -> Literal["open", "all"] | list[int]:
    if settings.encryption == "strict" or closed_ports == "all":
        return "all"
    return list(closed_ports) if closed_ports else "open"


def _exempt(settings: Settings, probers: tuple[str, ...]) -> list[tuple[str, int, bool]]:
    sources = [(*_split(cidr), False) for cidr in settings.exempt_sources]
    return sources + [(*_split(address), True) for address in dict.fromkeys(probers)]


def _served(settings: Settings) -> list[int]:
    """Ports of the gateway itself that are open in clear."""
    plain = [PLAIN_TUNNEL_PORT] if settings.tunnel == "plain" else []
    return [*plain, settings.metrics_port] if settings.metrics_port else plain


def _rules(settings: Settings) -> list[tuple[str, int, bool]]:
    """The longest prefix decides; an excluded CIDR wins over a captured one of the same length."""
    rules = dict.fromkeys(_EVERYTHING, not settings.capture_cidrs)
    for cidr in settings.capture_cidrs:
        rules[_split(cidr)] = True
    for cidr in settings.exclude_cidrs:
        rules[_split(cidr)] = False
    return [(address, length, captured) for (address, length), captured in rules.items()]


def _split(cidr: str) -> tuple[str, int]:
    network = ipaddress.ip_network(cidr)
    return str(network.network_address), network.prefixlen
