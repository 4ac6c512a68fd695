"""From a pod's settings to what the eBPF hooks are told."""

from __future__ import annotations

import ipaddress

from kube_gateway import _native
from kube_gateway.model.settings import Settings

STALE_AFTER = 5.0
"""Seconds without a sign of life (one each second) after which the hooks take the worker for hung."""

_EVERYTHING = (("0.0.0.0", 0), ("::", 0))  # noqa: S104 - a prefix, not a listener


def configure_hooks(
    hooks: _native.Hooks,
    settings: Settings,
    *,
    addresses: tuple[str, ...],
    gateway_cgroups: tuple[int, ...],
    capture: bool,
) -> None:
    """Tell `hooks` what to capture. `capture` false leaves every new connection alone. Raises `NativeError`."""
    hooks.configure(
        gateway_cgroups=list(gateway_cgroups),
        capture=capture and not settings.accept_only,
        strict=capture and settings.encryption == "strict",
        addresses=list(addresses),
        rules=_rules(settings),
        excluded_ports=list(settings.exclude_ports),
        stale_after=STALE_AFTER,
    )


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
