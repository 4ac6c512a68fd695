"""Which of the pod's connections cross the network outside the tunnel, and ending them.

The hooks never touch a connection that stands, so those older than the gateway go on in clear; they have to be shown, and
can be ended on request so that the application makes them anew.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

import msgspec

from kube_gateway import _native
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.ports import PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT

_TUNNEL_PORTS = {PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT}
_MOST_REPORTED = 1000


class _Connection(msgspec.Struct, frozen=True):
    cookie: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    idle: float
    cgroup: int


_connections = msgspec.json.Decoder(list[_Connection])


def clear_connections(
    *, own_addresses: Collection[str], gateway_cgroups: Collection[int], control_port: int
) -> tuple[ClearConnection, ...]:
    """Return the pod's established connections that are in clear, the busiest first, at most 1000.

    `gateway_cgroups` are the inode numbers of the cgroups of the pod's gateways: during a hand-over there are more than
    one. Their lines to the watcher, at `control_port` (0 where these are no TCP connections), are TLS and left out. Raises
    `NativeError`.
    """
    found = [
        ClearConnection(
            cookie=connection.cookie,
            local_address=connection.local_address,
            local_port=connection.local_port,
            remote_address=connection.remote_address,
            remote_port=connection.remote_port,
            relayed=connection.cgroup in gateway_cgroups,
            idle=connection.idle,
        )
        for connection in _connections.decode(_native.connections())
        if _leaves_the_pod(connection, own_addresses) and not _is_ours(connection, gateway_cgroups, control_port)
    ]
    found.sort(key=lambda connection: connection.idle)
    return tuple(found[:_MOST_REPORTED])


def _leaves_the_pod(connection: _Connection, own_addresses: Collection[str]) -> bool:
    remote = connection.remote_address
    return remote not in own_addresses and not ipaddress.ip_address(remote).is_loopback


def _is_ours(connection: _Connection, gateway_cgroups: Collection[int], control_port: int) -> bool:
    """Whether it is a tunnel, or a gateway's line to the watcher."""
    if connection.cgroup not in gateway_cgroups:
        return False
    ports = {connection.local_port, connection.remote_port}
    return bool(ports & _TUNNEL_PORTS) or connection.remote_port == control_port
