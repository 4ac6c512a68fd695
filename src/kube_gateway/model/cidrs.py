"""Whether an address is in one of many CIDRs."""

from __future__ import annotations

import bisect
import functools
import ipaddress
from typing import NamedTuple


def is_within(address: str, cidrs: tuple[str, ...]) -> bool:
    """Whether `address` is in one of `cidrs`; asked about thousands of addresses, it looks the CIDRs over once.

    Raises `ValueError` for what is no address, or no CIDR.
    """
    if not cidrs:
        return False
    parsed = ipaddress.ip_address(address)
    ranges = _ranges(cidrs, parsed.version)
    at = bisect.bisect_right(ranges.first, int(parsed))
    return at > 0 and int(parsed) <= ranges.last[at - 1]


class _Ranges(NamedTuple):
    """In order, and none touches another."""

    first: list[int]
    last: list[int]


@functools.lru_cache(maxsize=512)
def _ranges(cidrs: tuple[str, ...], version: int) -> _Ranges:
    networks = [network for network in map(ipaddress.ip_network, cidrs) if network.version == version]
    # Of one version, as `collapse_addresses` wants them.
    merged = list(ipaddress.collapse_addresses(networks))  # type: ignore[type-var]
    return _Ranges(
        first=[int(network.network_address) for network in merged],
        last=[int(network.broadcast_address) for network in merged],
    )
