"""Which of the pod's connections cross the network outside the tunnel, since when, and whose they are.

The hooks never touch a connection that stands, so those older than the gateway go on in clear; they have to be shown, and
can be ended on request so that the application makes them anew.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Collection, Iterable
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import msgspec

from kube_gateway import _native
from kube_gateway.gateway.handover.messages import SeenConnection
from kube_gateway.gateway.owners import Owners
from kube_gateway.gateway.routers import routers
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.ports import PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT

_log = logging.getLogger("supervisor")

MOST_REPORTED = 1000

_TUNNEL_PORTS = {PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT}


class _Connection(msgspec.Struct, frozen=True):
    cookie: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    idle: float
    age: float
    half_closed: bool
    sent: int
    received: int
    uid: int
    inode: int
    cgroup: int


_connections = msgspec.json.Decoder(list[_Connection])


class ClearConnections(msgspec.Struct, frozen=True, kw_only=True):
    """`standing` is how many there are, `reported` at most 1000 of them."""

    standing: int
    reported: tuple[ClearConnection, ...]


class Inventory:
    """Of the pod whose cgroup is at `pod`."""

    def __init__(self, pod: Path) -> None:
        self._owners = Owners(pod)
        self._first_seen: dict[int, float] = {}
        self._older: set[int] | None = None

    def hooks_are_in_place(self) -> None:
        """What stands now began before the gateway, and nothing else did.

        A gateway that took over found hooks in place, and knows of the one before what is older.
        """
        if self._older is None:
            try:
                self._older = {connection.cookie for connection in _connections.decode(_native.connections())}
            except _native.NativeError as error:
                # It is no reason not to encrypt. Who cannot list them now cannot report them either.
                _log.error("%s", error.args[0])

    def seen(self) -> tuple[SeenConnection, ...]:
        """What a gateway that takes over is told."""
        now = time.monotonic()
        return tuple(
            SeenConnection(cookie=cookie, age=round(now - since, 1), older=self._older is None or cookie in self._older)
            for cookie, since in list(self._first_seen.items())[:MOST_REPORTED]
        )

    def inherit(self, seen: Collection[SeenConnection] | None) -> None:
        """What the gateway before has told; None: nothing."""
        if seen is not None:
            now = time.monotonic()
            self._first_seen = {each.cookie: now - each.age for each in seen}
            self._older = {each.cookie for each in seen if each.older}

    def look(
        self, *, own_addresses: Collection[str], gateway_cgroups: Collection[int], control_port: int
    ) -> ClearConnections:
        """The pod's established connections that are in clear.

        `gateway_cgroups` are the inode numbers of the cgroups of the pod's gateways: during a hand-over there are more than
        one. Their lines to the watcher, at `control_port` (0 where these are no TCP connections), are TLS and left out.
        Raises `NativeError`.
        """
        now = time.monotonic()
        found = [
            connection
            for connection in _connections.decode(_native.connections())
            if _leaves_the_pod(connection, own_addresses) and not _is_ours(connection, gateway_cgroups, control_port)
        ]
        self._first_seen = {each.cookie: self._first_seen.get(each.cookie, now) for each in found}
        if self._older is not None:
            self._older &= self._first_seen.keys()
        chosen = fairly_chosen(found, most=MOST_REPORTED)
        applications = {each.inode for each in chosen if each.inode and each.cgroup not in gateway_cgroups}
        self._owners.look_for(applications, leave_out=gateway_cgroups)
        near = routers() if chosen else ()
        return ClearConnections(
            standing=len(found),
            reported=tuple(self._described(each, gateway_cgroups, now=now, near=near) for each in chosen),
        )

    def _described(
        self, connection: _Connection, gateway_cgroups: Collection[int], *, now: float, near: Collection[str]
    ) -> ClearConnection:
        relayed = connection.cgroup in gateway_cgroups
        process = None if relayed else self._owners.process(connection.inode)
        return ClearConnection(
            cookie=connection.cookie,
            local_address=connection.local_address,
            local_port=connection.local_port,
            remote_address=connection.remote_address,
            remote_port=connection.remote_port,
            relayed=relayed,
            idle=connection.idle,
            older=not relayed and (self._older is None or connection.cookie in self._older),
            age=round(max(connection.age, now - self._first_seen[connection.cookie]), 3),
            half_closed=connection.half_closed,
            sent=connection.sent,
            received=connection.received,
            from_router=connection.remote_address in near,
            uid=connection.uid,
            container="" if relayed else self._owners.container(connection.cgroup),
            process=process.name if process is not None else "",
            pid=process.pid if process is not None else 0,
            process_age=round(process.age, 3) if process is not None else 0.0,
        )


def fairly_chosen(found: Iterable[_Connection], *, most: int) -> list[_Connection]:
    """At most so many, of each peer the idlest first, and no peer's all before another's first."""
    by_peer = sorted(found, key=lambda each: (each.remote_address, -each.idle, each.cookie))
    ranked = [
        (rank, each)
        for _, group in groupby(by_peer, key=attrgetter("remote_address"))
        for rank, each in enumerate(group)
    ]
    ranked.sort(key=lambda pair: (pair[0], -pair[1].idle, pair[1].cookie))
    return [each for _, each in ranked[:most]]


def _leaves_the_pod(connection: _Connection, own_addresses: Collection[str]) -> bool:
    remote = connection.remote_address
    return remote not in own_addresses and not ipaddress.ip_address(remote).is_loopback


def _is_ours(connection: _Connection, gateway_cgroups: Collection[int], control_port: int) -> bool:
    """Whether it is a tunnel, or a gateway's line to the watcher."""
    if connection.cgroup not in gateway_cgroups:
        return False
    ports = {connection.local_port, connection.remote_port}
    return bool(ports & _TUNNEL_PORTS) or connection.remote_port == control_port
