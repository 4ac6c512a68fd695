"""What becomes of each connection in clear.

One function judges a connection, for those that act and for those that only ask: `judge`. It ends nothing that would come
back the way it was. What may be ended has its turn (`pace`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from kube_gateway.control.actions import Flush
from kube_gateway.control.admission import is_admitted_in_clear
from kube_gateway.control.observed import PodObservation
from kube_gateway.control.pace import Allowance
from kube_gateway.model.cidrs import is_within
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.pod import Pod
from kube_gateway.model.service import ServiceBackends
from kube_gateway.model.settings import Settings

IDLE_AFTER = 5.0
"""Seconds without data after which `netflush=idle` may end a connection."""

_CHOSEN_BY_THE_KERNEL = range(32768, 61000)
"""Linux's default range of ports for those that dial (net.ipv4.ip_local_port_range)."""

Fate = Literal["ends", "waits", "stays"]
"""It would be ended in its turn; or once it is idle; or never, the way things are."""

Cause = Literal[
    "comes-back-encrypted",
    "comes-back-inspected",
    "strict",
    "busy",
    "opted-out",
    "not-own",
    "exempt",
    "encryption-off",
    "peer-not-enrolled",
    "peer-not-ready",
    "not-captured",
    "peer-does-not-capture",
]

CAUSES: dict[Cause, str] = {
    "comes-back-encrypted": "made anew it is encrypted",
    "comes-back-inspected": "made anew its LLM calls pass the policy",
    "strict": "this pod is strict: it comes back encrypted or not at all",
    "busy": f"carries data; ends after {IDLE_AFTER:g} s without",
    "opted-out": "netflush-exclude-ports has its port, here or at the peer",
    "not-own": "it is not from or to the pod's own address",
    "exempt": "its source may reach this strict pod in clear",
    "encryption-off": "this pod's gateway does not encrypt",
    "peer-not-enrolled": "the peer does not encrypt",
    "peer-not-ready": "the peer shall encrypt, and its gateway is not ready yet",
    "not-captured": "this pod does not capture it, so it would stay in clear",
    "peer-does-not-capture": "the peer that dialled does not capture it, so it would stay in clear",
}
"""What is said to people."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """One that encrypts, or shall (`ready` says which), and its settings."""

    settings: Settings
    ready: bool


class Peers:
    """Who encrypts, or shall: `pods` by address. `services` stand for theirs by address and port."""

    def __init__(
        self, pods: Mapping[str, Peer], services: Mapping[tuple[str, int], ServiceBackends] | None = None
    ) -> None:
        self._pods, self._services = pods, services or {}

    def at(self, address: str, port: int) -> Peer | None:
        """Who has this address; None for one that does not encrypt.

        A Service does if all do that are behind it: the next connection may go to any of them.
        """
        service = self._services.get((address, port))
        if service is None:
            return self._pods.get(address)
        peers = [(self._pods.get(backend.address), backend.port) for backend in service.backends]
        known = [(peer, its_port) for peer, its_port in peers if peer is not None]
        if not known or len(known) < len(peers):
            return None
        # Whoever opts out names the port that it listens on, and the connection has that of the Service.
        opted_out = {port for peer, its_port in known if {its_port, port} & {*peer.settings.flush_exclude_ports}}
        settings = msgspec.structs.replace(known[0][0].settings, flush_exclude_ports=tuple(opted_out))
        return Peer(settings=settings, ready=all(peer.ready for peer, _ in known))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a connection, and why."""

    connection: ClearConnection
    fate: Fate
    cause: Cause


def judge(connection: ClearConnection, *, pod: Pod, settings: Settings, peer: Peer | None) -> Verdict:
    """What becomes of a connection of a pod that has these settings; without a flush as with `netflush=true`.

    `peer` is who has the address at its other end, None for one that does not encrypt.
    """
    ends, cause = _considered(connection, pod=pod, settings=settings, peer=peer)
    if not ends:
        return Verdict(connection=connection, fate="stays", cause=cause)
    if settings.flush == "idle" and connection.idle < IDLE_AFTER:
        return Verdict(connection=connection, fate="waits", cause="busy")
    return Verdict(connection=connection, fate="ends", cause=cause)


def judge_all(pod: PodObservation, settings: Settings, peers: Peers) -> tuple[Verdict, ...]:
    """What becomes of each of a pod's connections that its gateway has reported."""
    reported = pod.gateway.clear_connections if pod.gateway is not None else ()
    return tuple(
        judge(each, pod=pod.pod, settings=settings, peer=peers.at(each.remote_address, each.remote_port))
        for each in reported
    )


def flush(pod: PodObservation, settings: Settings, *, peers: Peers, allowance: Allowance) -> Iterator[Flush]:
    """End what may be ended of a pod's connections, and has its turn."""
    gateway = pod.gateway
    if gateway is None or gateway.state != "ready" or settings.flush == "never" or gateway.applied != settings:
        return
    ends = [verdict.connection for verdict in judge_all(pod, settings, peers) if verdict.fate == "ends"]
    chosen = allowance.take(ends)
    if chosen:
        yield Flush(pod=pod.pod.key, connections=chosen)


def _considered(connection: ClearConnection, *, pod: Pod, settings: Settings, peer: Peer | None) -> tuple[bool, Cause]:
    """Whether a connection may be ended, the way things are, and why (not)."""
    if connection.local_address not in pod.addresses:
        return False, "not-own"
    opted_out = {*settings.flush_exclude_ports, *(peer.settings.flush_exclude_ports if peer is not None else ())}
    if opted_out & {connection.local_port, connection.remote_port}:
        return False, "opted-out"
    if _excludes(settings, connection.remote_address, connection.remote_port):
        return False, "not-captured"
    clear = _keeps_clear(connection, settings=settings, peer=peer)
    if clear is None:
        return True, "comes-back-encrypted"
    if _comes_back_inspected(connection, settings):
        return True, "comes-back-inspected"
    if settings.encryption != "strict" or clear not in {"peer-not-enrolled", "peer-does-not-capture"}:
        return False, clear
    allowed = _allowed_in_strict(connection, pod=pod, settings=settings)
    return (True, "strict") if allowed is None else (False, allowed)


def _allowed_in_strict(connection: ClearConnection, *, pod: Pod, settings: Settings) -> Cause | None:
    """Why a strict pod would have it in clear again; None: it would not.

    Where the ports do not tell who dialled, neither direction may be allowed.
    """
    own_chosen = connection.local_port in _CHOSEN_BY_THE_KERNEL
    peer_chosen = connection.remote_port in _CHOSEN_BY_THE_KERNEL
    dialled, accepted = own_chosen or not peer_chosen, peer_chosen or not own_chosen
    if dialled and not _captures(settings, connection.remote_address, connection.remote_port):
        return "not-captured"
    admitted = is_admitted_in_clear(
        connection, settings=settings, probe_sources=pod.probe_sources, probe_ports=pod.probe_ports
    )
    return "exempt" if accepted and admitted else None


def _keeps_clear(connection: ClearConnection, *, settings: Settings, peer: Peer | None) -> Cause | None:
    """Why it would not come back encrypted; None: it would.

    The gateway of the side that dials has to capture it, or it would come back in clear, and be ended again each second.
    That side has the port that the kernel chose; where the ports do not tell, both have to capture.
    """
    if not settings.encrypting:
        return "encryption-off"
    if peer is None:
        return "peer-not-enrolled"
    if not peer.ready:
        return "peer-not-ready"
    own_chosen = connection.local_port in _CHOSEN_BY_THE_KERNEL
    peer_chosen = connection.remote_port in _CHOSEN_BY_THE_KERNEL
    if (own_chosen or not peer_chosen) and not _captures(settings, connection.remote_address, connection.remote_port):
        return "not-captured"
    accepted = _captures(peer.settings, connection.local_address, connection.local_port)
    return "peer-does-not-capture" if (peer_chosen or not own_chosen) and not accepted else None


def _comes_back_inspected(connection: ClearConnection, settings: Settings) -> bool:
    """What is older than the gateway is not looked into for LLM calls; only the side that dials can change that."""
    ports = connection.local_port in _CHOSEN_BY_THE_KERNEL, connection.remote_port in _CHOSEN_BY_THE_KERNEL
    dialled = ports == (True, False)
    captured = _captures(settings, connection.remote_address, connection.remote_port)
    return settings.ai and not connection.relayed and dialled and captured


def _captures(settings: Settings, address: str, port: int) -> bool:
    if settings.accept_only or _excludes(settings, address, port):
        return False
    return not settings.capture_cidrs or is_within(address, settings.capture_cidrs)


def _excludes(settings: Settings, address: str, port: int) -> bool:
    return port in settings.exclude_ports or is_within(address, settings.exclude_cidrs)
