"""What becomes of each connection in clear, and which are ended now.

One function judges a connection, for those that act and for those that only ask: `judge`. It ends nothing that would come
back the way it was. Whoever may be ended then waits for their turn, as a database whose clients all connect anew at once
is no better off than one that was restarted.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from kube_gateway.control.actions import Flush
from kube_gateway.control.observed import Ended, PodObservation
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.settings import Settings

IDLE_AFTER = 5.0
"""Seconds without data after which `netflush=idle` may end a connection."""

MOST_A_SECOND = 20
"""Connections that are ended in a second at any one address, whoever ends them and whichever end it is."""

PART_OF_A_PEER = 10
"""One in so many of those that two addresses have with each other is ended in a second, but one at least."""

REMEMBERED = 5.0
"""Seconds for which an ended connection counts as such, although reports that are under way still have it."""

_CHOSEN_BY_THE_KERNEL = range(32768, 61000)
"""Linux's default range of ports for those that dial (net.ipv4.ip_local_port_range)."""

Fate = Literal["ends", "waits", "stays"]
"""It would be ended in its turn; or once it is idle; or never, the way things are."""

Cause = Literal[
    "comes-back-encrypted",
    "comes-back-inspected",
    "busy",
    "opted-out",
    "not-own",
    "encryption-off",
    "peer-not-enrolled",
    "peer-not-ready",
    "not-captured",
    "peer-does-not-capture",
]

CAUSES: dict[Cause, str] = {
    "comes-back-encrypted": "made anew it is encrypted",
    "comes-back-inspected": "made anew its LLM calls pass the policy",
    "busy": f"carries data; ends after {IDLE_AFTER:g} s without",
    "opted-out": "netflush-exclude-ports has its port, here or at the peer",
    "not-own": "it is not from or to the pod's own address",
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


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of a connection, and why."""

    connection: ClearConnection
    fate: Fate
    cause: Cause


def judge(connection: ClearConnection, *, addresses: Collection[str], settings: Settings, peer: Peer | None) -> Verdict:
    """What becomes of a connection of the pod with these addresses and settings; without a flush as with `netflush=true`.

    `peer` is who has the address at its other end, None for one that does not encrypt.
    """
    cause = _keeps(connection, addresses=addresses, settings=settings, peer=peer)
    if cause is not None:
        return Verdict(connection=connection, fate="stays", cause=cause)
    if settings.flush == "idle" and connection.idle < IDLE_AFTER:
        return Verdict(connection=connection, fate="waits", cause="busy")
    encrypted = _keeps_clear(connection, settings=settings, peer=peer) is None
    return Verdict(
        connection=connection, fate="ends", cause="comes-back-encrypted" if encrypted else "comes-back-inspected"
    )


def judge_all(pod: PodObservation, settings: Settings, peers: Mapping[str, Peer]) -> tuple[Verdict, ...]:
    """What becomes of each of a pod's connections that its gateway has reported. `peers` are by address."""
    reported = pod.gateway.clear_connections if pod.gateway is not None else ()
    return tuple(
        judge(each, addresses=pod.pod.addresses, settings=settings, peer=peers.get(each.remote_address))
        for each in reported
    )


def flush(
    pod: PodObservation, settings: Settings, *, peers: Mapping[str, Peer], allowance: Allowance
) -> Iterator[Flush]:
    """End what may be ended of a pod's connections, and has its turn."""
    gateway = pod.gateway
    if gateway is None or gateway.state != "ready" or settings.flush == "never" or gateway.applied != settings:
        return
    ends = [verdict.connection for verdict in judge_all(pod, settings, peers) if verdict.fate == "ends"]
    chosen = allowance.take(ends)
    if chosen:
        yield Flush(pod=pod.pod.key, connections=chosen)


class Allowance:
    """How many connections may still be ended at `now`, after those `ended` lately; what is taken counts."""

    def __init__(self, ended: Iterable[Ended], *, now: float) -> None:
        self._ends = {each.ends for each in ended if abs(now - each.at) < REMEMBERED}
        of_this_second = [each.ends for each in ended if abs(now - each.at) < 1.0]
        self._at_address = Counter(address for ends in of_this_second for address, _ in ends)
        self._between = Counter(_addresses(ends) for ends in of_this_second)

    def take(self, connections: Iterable[ClearConnection]) -> tuple[ClearConnection, ...]:
        """Those of a pod's connections that have their turn: the idlest first, as it is missed least."""
        standing = [each for each in connections if ends_of(each) not in self._ends]
        # Those of this second were among them when it began.
        with_peer = self._between + Counter(_addresses(ends_of(each)) for each in standing)
        standing.sort(key=lambda each: (-each.idle, each.cookie))
        return tuple(each for each in standing if self._take(ends_of(each), with_peer))

    def _take(self, ends: frozenset[tuple[str, int]], with_peer: Counter[frozenset[str]]) -> bool:
        pair = _addresses(ends)
        most = max(with_peer[pair] // PART_OF_A_PEER, 1)
        if self._between[pair] >= most or any(self._at_address[address] >= MOST_A_SECOND for address in pair):
            return False
        self._ends.add(ends)
        self._between[pair] += 1
        self._at_address.update(pair)
        return True


def seconds_needed(connections: Iterable[ClearConnection]) -> int:
    """About how long it takes until all of a pod's connections had their turn, if no other pod's are ended meanwhile."""
    left, seconds = tuple(connections), 0
    while left:
        taken = {each.cookie for each in Allowance((), now=0.0).take(left)}
        left = tuple(each for each in left if each.cookie not in taken)
        seconds += 1
    return seconds


def ends_of(connection: ClearConnection) -> frozenset[tuple[str, int]]:
    """Both ends, the same seen from either."""
    return frozenset(
        (
            (connection.local_address, connection.local_port),
            (connection.remote_address, connection.remote_port),
        )
    )


def _addresses(ends: frozenset[tuple[str, int]]) -> frozenset[str]:
    return frozenset(address for address, _ in ends)


def _keeps(
    connection: ClearConnection, *, addresses: Collection[str], settings: Settings, peer: Peer | None
) -> Cause | None:
    """Why a connection is never ended, the way things are; None: nothing speaks against it."""
    if connection.local_address not in addresses:
        return "not-own"
    opted_out = {*settings.flush_exclude_ports, *(peer.settings.flush_exclude_ports if peer is not None else ())}
    if opted_out & {connection.local_port, connection.remote_port}:
        return "opted-out"
    if _excludes(settings, connection.remote_address, connection.remote_port):
        return "not-captured"
    clear = _keeps_clear(connection, settings=settings, peer=peer)
    return None if clear is None or _comes_back_inspected(connection, settings) else clear


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
    return not settings.capture_cidrs or _within(address, settings.capture_cidrs)


def _excludes(settings: Settings, address: str, port: int) -> bool:
    return port in settings.exclude_ports or _within(address, settings.exclude_cidrs)


def _within(address: str, cidrs: Iterable[str]) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(cidr) for cidr in cidrs)
