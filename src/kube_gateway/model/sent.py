"""What has left a pod, in bytes, and how: as the hook on the pod's way out counts it, whoever sent it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

KINDS = ("tunnel", "tls", "plain", "udp", "other")
"""`tunnel` is between gateways, `tls` TLS of the application's own, `plain` any other TCP, `other` neither TCP nor UDP."""

ENCRYPTED = ("tunnel", "tls")

REFUSED_IN_CLEAR = ("gate_refused", "gate_dropped", "egress_refused")
"""The hooks' counters of connections to and from the pod that were not let through, as they would have been in clear."""

MOST_PEERS = 200
"""Peers that are named in a report, those with the most bytes; all count in the totals."""

REST = ""
"""The address of what went to peers that are not named."""


class SentTo(msgspec.Struct, frozen=True, kw_only=True):
    """Payload to one address. `kind` is one of `KINDS`; `packets` are as the hook sees them, before they are cut."""

    address: str
    kind: str
    bytes: int
    packets: int = 0


class SentReport(msgspec.Struct, frozen=True, kw_only=True):
    """Payload bytes that left the pod since `since` (seconds since the epoch): by kind, and to the peers with the most.

    Counted on the way out of the pod for every process in it, gateway or not; what stays on loopback is not. Bytes that TCP
    sends again count again.
    """

    since: float
    totals: dict[str, int]
    peers: tuple[SentTo, ...] = ()


def in_all(totals: Mapping[str, int]) -> int:
    """Bytes of all kinds."""
    return sum(totals.values())


def encrypted(totals: Mapping[str, int]) -> int:
    """Bytes that nobody on the wire could read."""
    return sum(totals.get(kind, 0) for kind in ENCRYPTED)


def refused_in_clear(counters: Mapping[str, int]) -> int:
    """What was not let through because it was in clear."""
    return sum(counters.get(name, 0) for name in REFUSED_IN_CLEAR)


def with_the_most(peers: Iterable[SentTo], *, most: int) -> tuple[SentTo, ...]:
    """At most `most` of them, those with the most bytes, in that order; ties by address."""
    return tuple(sorted(peers, key=lambda peer: (-peer.bytes, peer.address, peer.kind))[:most])
