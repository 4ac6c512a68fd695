"""What one stage of the demo showed, and whether that is what the product promises.

Collecting and judging are apart: the judgement is a pure function over values that also go out as JSON, so
anybody can check it against the captures. A stage that does not show what it must fails the demo; otherwise
it would prove nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.ports import PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT
from kube_gateway.observe.proof import PortTraffic

HELLO_PORT = 9000
HTTP_PORT = 9080
SECRET = b"Hello from"
"""What both programs say all the time, and what must not be readable in the end."""


class PeerIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Who `pod` is and who it has found `peer` to be, as its gateway reports it; empty before the first session."""

    pod: str
    peer: str
    spiffe_id: str = ""
    peer_spiffe_id: str = ""
    cipher: str = ""
    key_exchange: str = ""
    certificate_seconds_left: float = 0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Some bytes as they crossed the wire, in hexadecimal; `port` is the server's."""

    source: str
    destination: str
    port: int
    payload: str


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of one stage.

    `capture` is the path of the pcap file. `bytes` is TCP payload. Requests, reconnects and `failures` (what
    the programs report as their last error) count from the start of the pods, both together.
    `addresses` are the pods' own, `seen_as` those that the other's server saw. `clear_connections` are those
    that a gateway knows to be outside the tunnel, by pod.
    """

    name: str
    capture: str
    seconds: float
    frames: int
    bytes: int
    payload_visible: bool
    visible_on_ports: tuple[int, ...]
    ports: tuple[PortTraffic, ...]
    pids: dict[str, int]
    addresses: dict[str, str]
    seen_as: dict[str, str]
    requests_ok: int
    requests_failed: int
    reconnects: int
    failures: tuple[str, ...] = ()
    clear_connections: dict[str, tuple[ClearConnection, ...]] = {}
    identities: tuple[PeerIdentity, ...] = ()
    samples: tuple[Sample, ...] = ()

    @property
    def carrying(self) -> dict[int, PortTraffic]:
        """The server ports on which payload crossed the wire."""
        return {port.port: port for port in self.ports if port.payload_bytes}

    @property
    def left_in_clear(self) -> int:
        """How many connections the gateways report as in clear; one that both report counts once."""
        ends = (
            frozenset({(each.local_address, each.local_port), (each.remote_address, each.remote_port)})
            for connections in self.clear_connections.values()
            for each in connections
        )
        return len(set(ends))


def objections(stage: Stage, *, before: Stage | None) -> tuple[str, ...]:
    """Return what `stage` should have shown and did not, empty if all is well; `before` is the stage before it."""
    return (*_always(stage, before), *_OF_STAGE[stage.name](stage))


def _always(stage: Stage, before: Stage | None) -> Iterator[str]:
    if stage.requests_failed:
        yield f"{stage.requests_failed} requests failed ({'; '.join(stage.failures) or 'no reason given'})"
    if not stage.bytes:
        yield "no payload crossed the wire: the capture proves nothing"
    for pod, address in stage.seen_as.items():
        if address != stage.addresses.get(pod):
            yield f"the server saw {pod} as {address}, not as {stage.addresses.get(pod)}"
    if before is not None and before.pids != stage.pids:
        yield f"the pods' processes changed from {before.pids} to {stage.pids}"
    if before is not None and stage.requests_ok <= before.requests_ok:
        yield "no request was answered since the stage before"


def _in_clear(stage: Stage) -> Iterator[str]:
    for port in (HELLO_PORT, HTTP_PORT):
        if port not in stage.visible_on_ports:
            yield f"the text was not readable on port {port}, though nothing encrypts it yet"
    for port in (PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT):
        if port in stage.carrying:
            yield f"payload crossed the wire on port {port}, though both ends are not enrolled"


def _new_connections_encrypted(stage: Stage) -> Iterator[str]:
    yield from _tunnelled(stage)
    if HELLO_PORT not in stage.visible_on_ports:
        yield f"the connection to port {HELLO_PORT}, older than the gateways, should have been left as it was"
    if others := sorted(set(stage.visible_on_ports) - {HELLO_PORT}):
        yield f"the text was readable on port {others[0]}"
    if HTTP_PORT in stage.carrying:
        yield f"requests still crossed the wire on port {HTTP_PORT}"
    for pod in stage.pids:
        connections = stage.clear_connections.get(pod, ())
        if HELLO_PORT not in {port for each in connections for port in (each.local_port, each.remote_port)}:
            yield f"the gateway of {pod} does not report the old connection as one left in clear"


def _all_encrypted(stage: Stage) -> Iterator[str]:
    yield from _tunnelled(stage)
    if stage.payload_visible:
        yield f"the text was readable on the wire (ports {', '.join(map(str, stage.visible_on_ports)) or 'unknown'})"
    if others := sorted(stage.carrying.keys() - {TLS_TUNNEL_PORT}):
        yield f"payload crossed the wire outside the tunnel, on port {others[0]}"
    if not stage.reconnects:
        yield "the old connection was not ended"
    for pod in stage.pids:
        connections = stage.clear_connections.get(pod)
        if connections is None:
            yield f"the gateway of {pod} reports nothing"
        elif connections:
            yield f"the gateway of {pod} still reports {len(connections)} connections in clear"


def _tunnelled(stage: Stage) -> Iterator[str]:
    tunnel = stage.carrying.get(TLS_TUNNEL_PORT)
    if tunnel is None:
        yield f"nothing crossed the wire on port {TLS_TUNNEL_PORT}"
    elif tunnel.traffic != "tls":
        yield f"what crossed the wire on port {TLS_TUNNEL_PORT} is not TLS"
    own = {identity.pod: identity.spiffe_id for identity in stage.identities}
    if own.keys() != stage.pids.keys():
        yield f"identities were reported by {', '.join(sorted(own)) or 'no gateway'} only"
    for identity in stage.identities:
        if not identity.cipher or not identity.peer_spiffe_id:
            yield f"{identity.pod} does not know who {identity.peer} is"
        elif identity.peer_spiffe_id != own.get(identity.peer):
            yield f"{identity.pod} takes {identity.peer} for {identity.peer_spiffe_id}"


_OF_STAGE = {
    "clear": _in_clear,
    "one-enrolled": _in_clear,
    "both-enrolled": _new_connections_encrypted,
    "flushed": _all_encrypted,
}
STAGES = tuple(_OF_STAGE)
