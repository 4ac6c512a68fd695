"""Whether an address is in one of many CIDRs."""

from __future__ import annotations

import functools
import ipaddress

from kube_gateway.model.ranges import Ranges, covers


def is_within(address: str, cidrs: tuple[str, ...]) -> bool:
    """Whether `address` is in one of `cidrs`; asked about thousands of addresses, it looks the CIDRs over once.

    Raises `ValueError` for what is no address, or no CIDR.
    """
    if not cidrs:
        return False
    parsed = ipaddress.ip_address(address)
    return covers(_ranges(cidrs, parsed.version), int(parsed))


@functools.lru_cache(maxsize=512)
def _ranges(cidrs: tuple[str, ...], version: int) -> Ranges:
    networks = [network for network in map(ipaddress.ip_network, cidrs) if network.version == version]
    # Of one version, as `collapse_addresses` wants them.
    merged = ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
    return [(int(network.network_address), int(network.broadcast_address)) for network in merged]
