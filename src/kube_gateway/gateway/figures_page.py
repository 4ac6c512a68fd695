"""Figures of one pod for Prometheus: what left it and how, what was refused, and whether all is well.

`kube_gateway_plaintext_bytes_total` is the one to have an alert on. A peer has a series of its own from when it is first
seen on, as long as there is room; so each of them only grows, and so does that of all others together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from kube_gateway.model.exposition import OTHER, Family, exposition
from kube_gateway.model.sent import KINDS, MOST_PEERS, REST, SentReport
from kube_gateway.model.settings import Settings

_REFUSED = {
    "kube_gateway_gate_refused_total": (
        ("gate_refused", "gate_dropped"),
        "Connections to the pod that were refused in clear.",
    ),
    "kube_gateway_egress_refused_total": (("egress_refused",), "TCP handshakes in clear that did not leave the pod."),
    "kube_gateway_udp_refused_total": (("udp_refused",), "UDP packets that did not leave the pod."),
    "kube_gateway_would_deny_total": (
        ("authorization_would_deny",),
        "Tunnelled connections to the pod that a policy in a dry run would have denied.",
    ),
    "kube_gateway_ended_total": (
        ("authorization_ended",),
        "Tunnelled connections to the pod that were ended as they are not allowed any more.",
    ),
}
_STREAMS = {
    "tunnelled_out": "streams_outbound",
    "tunnelled_in": "streams_inbound",
    "clear_out": "clear_outbound",
    "refused_out": "refused_outbound",
}


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a page is made of. `counters` are the worker's and the hooks'; `clear` connections stand in clear."""

    settings: Settings
    sent: SentReport | None
    counters: Mapping[str, int]
    clear: int
    certificate_expires: float


class FiguresPage:
    """Remembers which peers have a series."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def page(self, shown: Shown) -> str:
        """What Prometheus reads."""
        families = [*self._sent(shown.sent), *_refused(shown.counters), *_state(shown)]
        return exposition(families).decode()

    def _sent(self, sent: SentReport | None) -> Iterator[Family]:
        if sent is None:
            return
        by_kind = Family(
            "kube_gateway_sent_bytes_total",
            "Payload that left the pod: in tunnels, as TLS of its own, as other TCP, by UDP, by anything else.",
            kind="counter",
            labels=("kind",),
        )
        by_kind.set_all(((kind,), sent.totals.get(kind, 0)) for kind in KINDS)
        plain = Family(
            "kube_gateway_plaintext_bytes_total",
            "Payload of TCP connections that left the pod readable for anybody on the wire.",
            kind="counter",
            labels=("peer",),
        )
        # There is something to compare with from the beginning on.
        plain.add(0, OTHER)
        for peer in sent.peers:
            if peer.kind == "plain":
                plain.add(peer.bytes, self._name(peer.address))
        since = Family("kube_gateway_counting_since_seconds", "When counting of bytes began.", kind="gauge")
        since.add(sent.since)
        yield from (by_kind, plain, since)

    def _name(self, address: str) -> str:
        if address not in self._named and (address == REST or len(self._named) >= MOST_PEERS):
            return OTHER
        self._named.add(address)
        return address


def _refused(counters: Mapping[str, int]) -> Iterator[Family]:
    for name, (summands, about) in _REFUSED.items():
        if summands[0] in counters:
            family = Family(name, about, kind="counter")
            family.add(sum(counters.get(counter, 0) for counter in summands))
            yield family
    denied = Family(
        "kube_gateway_denied_total",
        "Tunnelled connections to the pod that were denied: by a policy, or as they were for somebody else.",
        kind="counter",
        labels=("by",),
    )
    if "denied_inbound" in counters:
        by_policy = counters.get("authorization_denied", 0)
        denied.add(by_policy, "policy")
        denied.add(counters["denied_inbound"] - by_policy, "destination")
    streams = Family(
        "kube_gateway_streams_total", "The pod's connections, by what became of them.", kind="counter", labels=("how",)
    )
    streams.set_all(((how,), counters[counter]) for how, counter in _STREAMS.items() if counter in counters)
    yield from (denied, streams)


def _state(shown: Shown) -> Iterator[Family]:
    info = Family("kube_gateway_info", "The settings in force.", kind="gauge", labels=("encryption", "udp"))
    info.add(1, shown.settings.encryption, shown.settings.udp)
    clear = Family("kube_gateway_connections_in_clear", "TCP connections that stand in clear.", kind="gauge")
    clear.add(shown.clear)
    expires = Family("kube_gateway_certificate_expiry_seconds", "When the pod's certificate ends.", kind="gauge")
    expires.add(shown.certificate_expires)
    yield from (info, clear, expires)
