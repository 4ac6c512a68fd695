"""What the gateways report, published for people: the ConfigMap `kube-gateway-status` in the watcher's namespace.

Gateways tell the watcher each second what they carry, and nobody else. `kube-gateway status` and `check` read it here,
through the API server and with the rights of whoever asks: no further port, and no credentials of ours to hand out. The
API server is no database for measurements, so it is written seldom, the less often the longer it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Literal

import msgspec

from kube_gateway import __version__
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import settings_of
from kube_gateway.control.flush_plan import FlushPlan, Standing, plan, standing_of
from kube_gateway.control.observed import Observed, PodObservation
from kube_gateway.identity.bundle import trust_generation
from kube_gateway.identity.rotation import Status
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import KubernetesError
from kube_gateway.model.ai_report import AiReport, shortened
from kube_gateway.model.identity_report import IdentityReport
from kube_gateway.model.sent import refused_in_clear
from kube_gateway.watcher import connections
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.generations import generations
from kube_gateway.watcher.identities import Identities
from kube_gateway.watcher.objects import PodObject

_log = logging.getLogger("watcher")

CONFIG_MAP = "kube-gateway-status"
KEY = "status"

EVERY = 10.0
"""Seconds between two looks at what has changed."""

AT_LEAST_EVERY = 60.0
"""Seconds after which it is written unchanged, to show that somebody does."""

LARGEST = 768 * 1024
"""Bytes of JSON; a ConfigMap holds 1 MiB, about four thousand pods."""

_BYTES_PER_SECOND = 16 * 1024
_PODS_AT_ONCE = 200

State = Literal["none", "starting", "ready", "draining", "exited"]


class PodSummary(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pod's gateway, as its watcher knows it.

    `state` is `none` before there is one. `version`, `mode` (what the gateway was last told: `permissive`, `strict`,
    `off`) and all numbers are of gateway `generation`, and empty until it has said something. `connected`: it holds a
    line to the watcher. `certificate_expires` is in seconds since the epoch. `tunnelled`, `clear` and `refused` count
    streams since the gateway's worker started: in both directions, outbound, and in both. `clear_connections` stand now,
    and `encrypted_connections` in tunnels; `clear_causes` is what would become of the former, as flushing has it, and
    `clear_older` how many of them began before the gateway.
    `sent` is payload that left the pod since `sent_since`, in bytes, by kind (see `model.sent.KINDS`). `refused_in_clear`
    counts connections and handshakes that were refused because they were in clear, `udp_refused` packets. `ai` is what is
    told of LLM calls, if these pass a policy, of the models, rules and budgets with the most only. `identity` is
    what it proves, without the uid, and without the roots if they are those of the summary.
    """

    key: str
    uid: str
    generation: int
    state: State
    connected: bool = False
    version: str = ""
    mode: str = ""
    certificate_expires: float = 0.0
    tunnelled: int = 0
    clear: int = 0
    refused: int = 0
    clear_connections: int = 0
    encrypted_connections: int = 0
    clear_causes: dict[str, int] = {}
    clear_older: int = 0
    peers: int = 0
    sent: dict[str, int] = {}
    sent_since: float = 0.0
    refused_in_clear: int = 0
    udp_refused: int = 0
    ai: AiReport | None = None
    identity: IdentityReport | None = None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All pods that have to do with us, by name, at `time` (seconds since the epoch, by the clock of `leader`).

    `image` is what gateways shall run, `certificate_life` is in seconds. `left_out`: pods for which there was no room;
    identities are left out first. `roots` are those that gateways shall trust (SHA-256), `trust` is how far a rotation is.
    `strict`: the watcher has every pod that encrypts be strict.
    """

    time: float
    leader: str
    version: str
    image: str
    certificate_life: float
    pods: tuple[PodSummary, ...]
    left_out: int = 0
    strict: bool = False
    roots: tuple[str, ...] = ()
    trust: Status | None = None


class Publisher:
    """Writes the summary while its watcher leads."""

    def __init__(
        self,
        client: KubernetesClient,
        configuration: Configuration,
        *,
        cluster: Cluster,
        identities: Identities,
    ) -> None:
        self._client = client
        self._configuration = configuration
        self._cluster = cluster
        self._identities = identities
        self._told = ""

    async def run(self) -> None:
        """Write again and again, until cancelled. That it could not be written is no reason to stop leading."""
        written: tuple[Summary, connections.Connections] | None = None
        while True:
            found = await self._look()
            size = 0
            if written is None or _is_news(found[0], written[0]) or connections.is_news(found[1], written[1]):
                data = {
                    KEY: msgspec.json.encode(found[0]).decode(),
                    connections.KEY: msgspec.json.encode(found[1]).decode(),
                }
                size = sum(map(len, data.values()))
                if await self._write(data):
                    written = found
            await asyncio.sleep(pause_after(size))

    async def summary(self) -> Summary:
        """What there is to tell now, as far as there is room for it."""
        return (await self._look())[0]

    async def _look(self) -> tuple[Summary, connections.Connections]:
        found, plans = [], []
        for number, (key, seen) in enumerate(list(self._cluster.pods.store.items())):
            if number % _PODS_AT_ONCE == 0:
                await asyncio.sleep(0)  # there is more to do than to count
            observation = self._cluster.observe(key)
            if observation is None or observation.pod.uid != seen.metadata.uid:
                continue
            lines = self._cluster.memory(key).lines
            flushing = self._plan(seen, observation, lines)
            of_pod = pod_summary(seen, observation, lines, flushing=flushing)
            if of_pod is not None:
                of_pod = self._with_short_identity(of_pod)
                found.append(of_pod)
            if flushing is not None and flushing.verdicts:
                plans.append(flushing)
        now = round(time.time(), 3)
        plans.sort(key=lambda flushing: flushing.pod)
        kept, left_out = within(sorted(found, key=lambda pod: pod.key), LARGEST)
        if left_out:
            without = (msgspec.structs.replace(pod, identity=None) for pod in found)
            kept, left_out = within(sorted(without, key=lambda pod: pod.key), LARGEST)
        summary = Summary(
            time=now,
            leader=self._configuration.name,
            version=__version__,
            image=self._cluster.image,
            certificate_life=self._configuration.certificate_life.total_seconds(),
            pods=kept,
            left_out=left_out,
            strict=self._configuration.strict,
            roots=tuple(sorted(self._identities.trusted)),
            trust=self._identities.status,
        )
        return summary, connections.within(plans, connections.LARGEST, time=now)

    def _with_short_identity(self, pod: PodSummary) -> PodSummary:
        if pod.identity is None:
            return pod
        identity = shortened_identity(pod.identity, trusted=self._identities.trusted)
        return msgspec.structs.replace(pod, identity=identity)

    def _plan(
        self, seen: PodObject, observation: PodObservation, lines: dict[int, ConnectedGateway]
    ) -> FlushPlan | None:
        if observation.gateway is None or not observation.gateway.clear_connections:
            return None
        peers, services = self._cluster.peers_of(observation), self._cluster.services_of(observation)
        observed = Observed(now=time.time(), pods=(observation,), peers=peers, services=services)
        return plan(observation, observed, standing=_standing(seen, lines))

    async def _write(self, data: dict[str, str]) -> bool:
        namespace = self._configuration.namespace
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "namespace": namespace},
            "data": data,
        }
        try:
            await self._client.patch(f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}", body, kind="apply")
        except KubernetesError as error:
            if error.message != self._told:
                self._told = error.message
                _log.warning("kube-gateway status will not know what gateways report: %s", error.message)
            return False
        self._told = ""
        return True


def pod_summary(
    seen: PodObject,
    observation: PodObservation,
    connected: dict[int, ConnectedGateway],
    *,
    flushing: FlushPlan | None = None,
) -> PodSummary | None:
    """What is told of a pod; None for one that has, and shall have, no gateway."""
    settings = settings_of(observation)
    wanted = observation.running and settings is not None and settings.wanted
    gateway = observation.gateway
    if not wanted and (gateway is None or gateway.state == "exited"):
        return None
    number = serving(seen, connected) or observation.generation
    line = connected.get(number)
    report = line.report if line is not None else None
    counters = report.snapshot.counters if report else {}
    applied = line.applied if line is not None else None
    standing = _standing(seen, connected)
    return PodSummary(
        key=observation.pod.key,
        uid=observation.pod.uid,
        generation=number,
        state=gateway.state if gateway is not None else "none",
        connected=line is not None and line.is_connected,
        version=line.version if line is not None else "",
        mode=applied.encryption if applied is not None else "",
        certificate_expires=report.certificate_expires if report else 0.0,
        tunnelled=counters.get("streams_outbound", 0) + counters.get("streams_inbound", 0),
        clear=counters.get("clear_outbound", 0),
        refused=counters.get("refused_outbound", 0) + counters.get("denied_inbound", 0),
        clear_connections=standing.clear,
        encrypted_connections=standing.encrypted,
        clear_causes={str(cause): number for cause, number in flushing.causes.items()} if flushing else {},
        clear_older=sum(verdict.connection.older for verdict in flushing.verdicts) if flushing else 0,
        peers=len(report.snapshot.peers) if report else 0,
        sent=report.sent.totals if report and report.sent else {},
        sent_since=report.sent.since if report and report.sent else 0.0,
        refused_in_clear=refused_in_clear(counters),
        udp_refused=counters.get("udp_refused", 0),
        ai=shortened(report.ai) if report and report.ai else None,
        identity=report.identity if report else None,
    )


def shortened_identity(identity: IdentityReport, *, trusted: frozenset[str]) -> IdentityReport:
    """Without what the summary has elsewhere."""
    roots = () if identity.trust_generation == trust_generation(trusted) else identity.roots
    return msgspec.structs.replace(identity, uid="", roots=roots, renews_at=round(identity.renews_at))


def within(pods: Iterable[PodSummary], most: int) -> tuple[tuple[PodSummary, ...], int]:
    """Those that fit into `most` bytes of JSON, and how many do not."""
    kept, size, left_out = [], 0, 0
    for pod in pods:
        size += len(msgspec.json.encode(pod)) + 1
        if size <= most:
            kept.append(pod)
        else:
            left_out += 1
    return tuple(kept), left_out


def pause_after(size: int) -> float:
    """Seconds to wait after so many bytes were written."""
    return min(max(EVERY, size / _BYTES_PER_SECOND), AT_LEAST_EVERY)


def _is_news(summary: Summary, written: Summary) -> bool:
    trust = summary.trust
    if trust is not None and written.trust is not None:
        trust = msgspec.structs.replace(trust, told_at=written.trust.told_at)
    changed = msgspec.structs.replace(summary, time=written.time, trust=trust) != written
    # The next look would be too late.
    return changed or summary.time - written.time > AT_LEAST_EVERY - EVERY


def _standing(seen: PodObject, connected: dict[int, ConnectedGateway]) -> Standing:
    """What stands now, also in gateways that have handed over and run on."""
    alive = {generation.number for generation in generations(seen) if generation.terminated is None}
    number = serving(seen, connected) or max(alive & connected.keys(), default=0)
    if number not in connected:
        return Standing()
    return standing_of(connected[number], [connected[other] for other in alive & connected.keys() if other < number])


def serving(seen: PodObject, connected: dict[int, ConnectedGateway]) -> int:
    """The newest gateway that has said that it is ready, 0 for none: it is the one that carries new connections."""
    alive = (generation.number for generation in generations(seen) if generation.terminated is None)
    return max((number for number in alive if number in connected and connected[number].state == "ready"), default=0)
