"""How much has left a pod, for people."""

from __future__ import annotations

from collections.abc import Mapping

from kube_gateway.model.sent import KINDS, encrypted, in_all

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def size(count: int) -> str:
    """A number of bytes as a person says it: 512 B, 12.3 kB. Units are decimal."""
    if count < 1000:
        return f"{count} B"
    value, place = count / 1000, 0
    # 999.96 would be written as 1000.0.
    while value >= 999.95 and place + 1 < len(_UNITS):
        value, place = value / 1000, place + 1
    return f"{value:.1f} {_UNITS[place]}"


def share_encrypted(totals: Mapping[str, int]) -> str:
    """The part of the bytes that nobody on the wire could read, and of how many: `99% of 12.3 MB`."""
    total = in_all(totals)
    # Rounded down: 100 % is to mean all of them.
    return f"{100 * encrypted(totals) // total}% of {size(total)}" if total else "-"


def in_clear(totals: Mapping[str, int]) -> str:
    """What could be read, by kind: `plain 1.2 kB, udp 80 B`; `0 B` if nothing could."""
    parts = [f"{kind} {size(totals[kind])}" for kind in ("plain", "udp", "other") if totals.get(kind)]
    return ", ".join(parts) or "0 B"


def by_kind(totals: Mapping[str, int]) -> str:
    """All kinds, also those of which there is nothing."""
    return ", ".join(f"{kind} {size(totals.get(kind, 0))}" for kind in KINDS)
