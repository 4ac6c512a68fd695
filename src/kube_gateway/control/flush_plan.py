"""What flushing a pod would do, without doing it: for people who want to know before they ask for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import peers_of, settings_of
from kube_gateway.control.flushing import Cause, Verdict, judge_all
from kube_gateway.control.observed import GatewayState, Observed, PodObservation
from kube_gateway.model.settings import Flush, Settings


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Connections of a pod that stand now: in tunnels with TLS, and otherwise."""

    encrypted: int = 0
    clear: int = 0

    @property
    def percent(self) -> int | None:
        """The share that is encrypted, rounded down: 100 is to mean all of them. None where there are none."""
        total = self.encrypted + self.clear
        return 100 * self.encrypted // total if total else None


class FlushPlan(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of the pod with key `pod`. `flush` is what its annotations ask for, None where that is not known, `state` its
    gateway's.

    `verdicts` are about connections that its gateway has reported, of which `left_out` are not told; `names` has pods and
    Services by the addresses of peers.
    """

    pod: str
    flush: Flush | None
    state: GatewayState
    standing: Standing
    verdicts: tuple[Verdict, ...] = ()
    left_out: int = 0
    names: dict[str, str] = {}

    @property
    def causes(self) -> dict[Cause, int]:
        """How many connections there are of each cause, the most first."""
        return dict(Counter(verdict.cause for verdict in self.verdicts).most_common())


def plan(pod: PodObservation, observed: Observed, *, standing: Standing) -> FlushPlan | None:
    """What flushing does, or would do if the annotations asked for it. None while the pod has no gateway.

    `observed` has its peers.
    """
    settings = settings_of(pod) or Settings()
    if pod.gateway is None or pod.gateway.state == "exited":
        return None
    names = {
        address: other.pod.key for other in (*observed.pods, *observed.peers) for address in other.pod.addresses
    } | {address: f"service {service.service}" for (address, _), service in observed.services.items()}
    verdicts = judge_all(pod, settings, peers_of(observed))
    return FlushPlan(
        pod=pod.pod.key,
        flush=settings.flush,
        state=pod.gateway.state,
        standing=standing,
        verdicts=verdicts,
        left_out=max(standing.clear - len(verdicts), 0),
        names=_named(verdicts, names),
    )


def standing_of(serving: ConnectedGateway, older: Iterable[ConnectedGateway] = ()) -> Standing:
    """What stands now; `older` gateways have handed over and carry on what they have."""
    if serving.report is None:
        return Standing()
    streams = sum(
        gateway.report.snapshot.counters.get("streams_active", 0)
        for gateway in (serving, *older)
        if gateway.report is not None
    )
    clear = serving.report.snapshot.counters.get("clear_standing", len(serving.report.clear_connections))
    if serving.applied is not None and not serving.applied.encrypting:
        return Standing(clear=clear + streams)
    return Standing(encrypted=streams, clear=clear)


def _named(verdicts: Iterable[Verdict], names: Mapping[str, str]) -> dict[str, str]:
    addresses = {verdict.connection.remote_address for verdict in verdicts}
    return {address: names[address] for address in sorted(addresses) if address in names}
