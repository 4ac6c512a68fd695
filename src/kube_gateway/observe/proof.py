"""Which secrets were readable on the wire, and what kind of traffic each server port carried.

The finding must hold against our own mistakes: markers are searched in every raw frame (whatever its
protocol, fragments and garbage included) and in every reassembled stream (a marker may be cut by a segment's
end). A port counts as `tls` only when all its bytes are TLS records from the first to the last, not because
its number suggests it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from kube_gateway.errors import CaptureError
from kube_gateway.model.ports import RESERVED_PORTS
from kube_gateway.observe.packets import ACK, SYN, Segment, parse_frame
from kube_gateway.observe.pcap import read_pcap
from kube_gateway.observe.streams import Flow, Reassembler, Stream

TrafficClass = Literal["tls", "plain", "empty"]

_MAX_RECORD = 16384 + 256  # RFC 8446, 5.2
_RECORD_HEADER = re.compile(rb"[\x14-\x17]\x03[\x00-\x03]", re.DOTALL)
_RECORDS_TO_BELIEVE = 2


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """A marker that was readable in one direction of a connection, `time` in seconds since the epoch.

    Everything but `marker` and `time` is empty or 0 when it was in a frame that is not TCP. `server_port` is
    the port of the side that did not start the connection.
    """

    marker: str
    time: float
    source: str = ""
    source_port: int = 0
    destination: str = ""
    destination_port: int = 0
    server_port: int = 0


class PortTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """What one TCP server port carried, both directions together. Bytes are TCP payload, retransmissions once."""

    port: int
    connections: int
    payload_bytes: int
    traffic: TrafficClass


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a capture shows. `frames` counts all frames, of any protocol."""

    frames: int
    sightings: tuple[Sighting, ...]
    ports: tuple[PortTraffic, ...]

    @property
    def payload_bytes(self) -> int:
        """TCP payload of all ports."""
        return sum(port.payload_bytes for port in self.ports)

    def seen(self, marker: str) -> tuple[Sighting, ...]:
        """Return where `marker` was readable."""
        return tuple(sighting for sighting in self.sightings if sighting.marker == marker)


def examine(path: Path, *, markers: Mapping[str, bytes], dropped: int = 0) -> Evidence:
    """Search the capture at `path` for `markers` (name to bytes) and return what it shows.

    `dropped` is how many packets the capture missed. Raises `CaptureError` when the file is not a whole
    capture, or when a marker is not found although packets, or parts of them, are missing.
    """
    if empty := [name for name, secret in markers.items() if not secret]:
        raise ValueError(f"marker {empty[0]} is empty")
    collector = _Collector(markers)
    for frame in read_pcap(path):
        dropped += frame.truncated
        collector.add(frame.data, time=frame.time)
    evidence = collector.evidence()
    unseen = [name for name in markers if not evidence.seen(name)]
    if dropped and unseen:
        raise CaptureError(
            f"capture {path} lacks {dropped} packets, so that {unseen[0]} was not seen proves nothing",
            hint="capture again, with less traffic on the machine",
        )
    return evidence


def classify(stream: Stream) -> TrafficClass:
    """Return `tls` when the whole stream is TLS records, `empty` when it carried nothing."""
    if not stream.payload_bytes:
        return "empty"
    whole = (_is_tls(run, from_start=stream.from_start and not index) for index, run in enumerate(stream.runs))
    return "tls" if all(whole) else "plain"


class _Collector:
    def __init__(self, markers: Mapping[str, bytes]) -> None:
        self._markers = markers
        self._reassembler = Reassembler()
        self._servers: set[tuple[str, int]] = set()
        self._frames = 0
        self._sightings: list[Sighting] = []

    def add(self, frame: bytes, *, time: int) -> None:
        self._frames += 1
        segment = parse_frame(frame)
        if segment is not None:
            self._note_server(segment)
            self._reassembler.add(segment, time=time)
        flow = None if segment is None else _flow(segment)
        self._sightings += self._search(frame, flow, time)

    def evidence(self) -> Evidence:
        streams = tuple(self._reassembler.streams())
        for stream in streams:
            for run in stream.runs:
                self._sightings += self._search(run, stream.flow, stream.time)
        return Evidence(
            frames=self._frames,
            sightings=_earliest(map(self._place, self._sightings)),
            ports=self._ports(streams),
        )

    def _note_server(self, segment: Segment) -> None:
        if segment.flags & SYN:
            answer = segment.flags & ACK
            server = (segment.source, segment.source_port)
            self._servers.add(server if answer else (segment.destination, segment.destination_port))

    def _search(self, data: bytes, flow: Flow | None, time: int) -> Iterable[Sighting]:
        for name, secret in self._markers.items():
            if secret in data:
                seconds = time / 1_000_000_000
                yield Sighting(marker=name, time=seconds, **({} if flow is None else flow._asdict()))

    def _place(self, sighting: Sighting) -> Sighting:
        if not sighting.source:
            return sighting
        flow = Flow(sighting.source, sighting.source_port, sighting.destination, sighting.destination_port)
        return msgspec.structs.replace(sighting, server_port=self._server_port(flow))

    def _server_port(self, flow: Flow) -> int:
        """Return the server's port: by the handshake, else ours, else the lower (clients' ports are high)."""
        ends = ((flow.destination, flow.destination_port), (flow.source, flow.source_port))
        for end in ends:
            if end in self._servers:
                return end[1]
        ports = sorted(port for _, port in ends)
        return next((port for port in ports if port in RESERVED_PORTS), ports[0])

    def _ports(self, streams: Iterable[Stream]) -> tuple[PortTraffic, ...]:
        by_port: dict[int, list[Stream]] = {}
        for stream in streams:
            by_port.setdefault(self._server_port(stream.flow), []).append(stream)
        return tuple(_port_traffic(port, of_port) for port, of_port in sorted(by_port.items()))


def _flow(segment: Segment) -> Flow:
    return Flow(segment.source, segment.source_port, segment.destination, segment.destination_port)


def _port_traffic(port: int, streams: list[Stream]) -> PortTraffic:
    classes = {classify(stream) for stream in streams}
    traffic: TrafficClass = "plain" if "plain" in classes else "tls" if "tls" in classes else "empty"
    return PortTraffic(
        port=port,
        connections=max(
            sum(stream.flow.destination_port == port for stream in streams),
            sum(stream.flow.source_port == port for stream in streams),
        ),
        payload_bytes=sum(stream.payload_bytes for stream in streams),
        traffic=traffic,
    )


def _earliest(sightings: Iterable[Sighting]) -> tuple[Sighting, ...]:
    """Keep the first sighting of each marker in each direction of a connection, in the order of time.

    Frames come before streams, whose time is only that of their first segment.
    """
    first: dict[Sighting, Sighting] = {}
    for sighting in sightings:
        first.setdefault(msgspec.structs.replace(sighting, time=0), sighting)
    return tuple(sorted(first.values(), key=lambda sighting: sighting.time))


def _is_tls(data: bytes, *, from_start: bool) -> bool:
    """Whether `data` is a chain of TLS records; the last may be incomplete, and unless `from_start` the first too."""
    if from_start:
        return _records(data, 0) is not None
    for match in _RECORD_HEADER.finditer(data, 0, _MAX_RECORD + 5):
        records = _records(data, match.start())
        if records is not None and (match.start() == 0 or records >= _RECORDS_TO_BELIEVE):
            return True
    return False


def _records(data: bytes, position: int) -> int | None:
    """Return how many TLS records follow each other from `position` to the end of `data`, None if other bytes do."""
    count = 0
    while position < len(data):
        header = data[position : position + 5]
        length = int.from_bytes(header[3:], "big")
        if not _may_begin_record(header) or (len(header) == 5 and length > _MAX_RECORD):
            return None
        if len(header) < 5:
            return count
        position += 5 + length
        count += 1
    return count


def _may_begin_record(header: bytes) -> bool:
    """Whether these one to five bytes can be the begin of a TLS record's header."""
    return bool(_RECORD_HEADER.match(header + b"\x03\x03"[len(header) - 1 :] if len(header) < 3 else header))
