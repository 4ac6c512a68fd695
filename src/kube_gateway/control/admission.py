"""Who may reach a strict pod, or a port that policies have closed, in clear: what the gate in the kernel lets in.

`bpf/gate.bpf.h` decides on each new connection. Those that stand are judged by this one function, by the gateway and by its
watcher, so that none is ended that the gate would let in again.
"""

from __future__ import annotations

from collections.abc import Collection

from kube_gateway.model.cidrs import is_within
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.ports import RESERVED_PORTS
from kube_gateway.model.settings import Settings


def is_admitted_in_clear(
    connection: ClearConnection, *, settings: Settings, probe_sources: Collection[str], probe_ports: Collection[int]
) -> bool:
    """Whether the gate would let it in, if it was the peer that has dialled. `probe_*`: see `Pod`.

    Of its node's and its router's connections only those of the kubelet to ports that it probes.
    """
    if connection.local_port in (*RESERVED_PORTS, settings.metrics_port):
        return True
    if is_within(connection.remote_address, settings.exempt_sources):
        return True
    probes_from_there = connection.from_router or connection.remote_address in probe_sources
    return probes_from_there and connection.local_port in probe_ports
