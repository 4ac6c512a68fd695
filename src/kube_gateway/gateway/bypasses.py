"""Connections in clear to ports that policies have closed since: what the kernel lets nobody begin any more must not go on.

They began before the rules did, or before the gateway. Those that the application has made itself are not meant: it is
about who reaches the pod.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from kube_gateway.control.admission import is_admitted_in_clear
from kube_gateway.control.messages import Configure
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.ranges import Ranges, covers

_PROC = Path("/proc/self/net")
_LISTEN = "0A"
"""TCP_LISTEN of the kernel's include/net/tcp_states.h."""


def bypasses(
    clear: Iterable[ClearConnection], *, closed: Ranges, told: Configure, listening: Collection[int] | None = None
) -> tuple[int, ...]:
    """The cookies of those among `clear` that reach one of the `closed` ports and may not, by the rules of the gate.

    `listening` are the ports that somebody in the pod listens on, None: those that do now.
    """
    if not closed:
        return ()
    candidates = [
        connection for connection in clear if not connection.relayed and covers(closed, connection.local_port)
    ]
    if not candidates:
        return ()
    accepting = listening_ports() if listening is None else listening
    return tuple(
        connection.cookie
        for connection in candidates
        if connection.local_port in accepting
        and not is_admitted_in_clear(
            connection, settings=told.settings, probe_sources=told.probe_sources, probe_ports=told.probe_ports
        )
    )


def listening_ports(proc: Path = _PROC) -> frozenset[int]:
    """TCP ports of this network namespace that somebody listens on. Source: proc(5), net/tcp."""
    found = set()
    for name in ("tcp", "tcp6"):
        file = proc / name
        # Without IPv6 in the kernel there is no such file.
        for line in file.read_text().splitlines()[1:] if file.exists() else ():
            fields = line.split()
            if fields[3] == _LISTEN:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(found)
