"""Where the pod's default routes lead.

On a network that is a bridge of the node, the node has an address on it, the pod's router, and that is where the kubelet's
probes come from; the addresses that the API tells of a node are others. Source: proc(5), net/route; the kernel's
net/ipv6/route.c for net/ipv6_route.
"""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

_PROC = Path("/proc/net")
_UP, _GATEWAY = 1, 2
"""RTF_UP, RTF_GATEWAY of linux/route.h."""


def routers(proc: Path = _PROC) -> tuple[str, ...]:
    """The addresses of the routers of this network namespace's default routes, without those of the link alone."""
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [
        *_ipv4(_lines(proc / "route")),
        *_ipv6(_lines(proc / "ipv6_route")),
    ]
    return tuple(dict.fromkeys(str(address) for address in found if not address.is_link_local))


def _lines(file: Path) -> list[list[str]]:
    # Without IPv6 in the kernel there is no such file.
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def _ipv4(lines: list[list[str]]) -> list[ipaddress.IPv4Address]:
    """Columns: interface, destination, gateway, flags, three more, mask. Hexadecimal, in the machine's order of bytes."""
    return [
        ipaddress.IPv4Address(int(fields[2], 16).to_bytes(4, sys.byteorder))
        for fields in lines[1:]
        if fields[1] == fields[7] == "00000000" and _leads_on(fields[3])
    ]


def _ipv6(lines: list[list[str]]) -> list[ipaddress.IPv6Address]:
    """Columns: destination, its length, source, its length, next hop, metric, two counters, flags, interface."""
    return [
        ipaddress.IPv6Address(bytes.fromhex(fields[4]))
        for fields in lines
        if int(fields[0], 16) == 0 and fields[1] == "00" and _leads_on(fields[8])
    ]


def _leads_on(flags: str) -> bool:
    return int(flags, 16) & (_UP | _GATEWAY) == _UP | _GATEWAY
