"""The evidence of one stage: what a capture, the programs and the gateways say at that moment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path

import msgspec

from kube_gateway.demo.evidence import SECRET, PeerIdentity, Sample, Stage
from kube_gateway.demo.workload import Statistics
from kube_gateway.errors import LocalModeError
from kube_gateway.local.api import PodView
from kube_gateway.local.client import LocalClient
from kube_gateway.local.network import namespace_path
from kube_gateway.model.flow import PeerReport
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.packets import parse_frame
from kube_gateway.observe.pcap import read_pcap
from kube_gateway.observe.proof import examine

CAPTURE_SECONDS = 2.2
"""Long enough that each program has said hello at least twice."""

_SAMPLE_BYTES = 48
_MARKER = "hello"
_APPLICATION_DATA = b"\x17\x03\x03"


def collect(name: str, *, local: LocalClient, statistics: Mapping[str, Path], capture: Path) -> Stage:
    """Capture the first pod's wire for a while and return all there is to know of this stage.

    `statistics` are the programs' files by pod, the captured pod first. Raises `CaptureError` when packets were missed and
    `LocalModeError` when a pod or its program is gone.
    """
    first = local.pod(next(iter(statistics)))
    bridge = namespace_path(local.instance.namespace)
    with Capture.start(interface=first.interface, output=capture, namespace=bridge) as running:
        time.sleep(CAPTURE_SECONDS)
        summary = running.stop()
    evidence = examine(capture, markers={_MARKER: SECRET}, dropped=summary.dropped)
    pods = [local.pod(pod) for pod in statistics]
    programs = {pod: read_statistics(path) for pod, path in statistics.items()}
    sightings = evidence.seen(_MARKER)
    return Stage(
        name=name,
        capture=str(capture),
        seconds=CAPTURE_SECONDS,
        frames=evidence.frames,
        bytes=evidence.payload_bytes,
        payload_visible=bool(sightings),
        visible_on_ports=tuple(sorted({sighting.server_port for sighting in sightings} - {0})),
        ports=evidence.ports,
        pids={pod: program.pid for pod, program in programs.items()},
        addresses={pod.name: pod.addresses[0] for pod in pods},
        seen_as={pod: program.seen_as for pod, program in programs.items()},
        requests_ok=sum(program.requests_ok for program in programs.values()),
        requests_failed=sum(program.requests_failed for program in programs.values()),
        reconnects=sum(program.reconnects for program in programs.values()),
        failures=tuple(f"{pod}: {program.last_error}" for pod, program in programs.items() if program.last_error),
        clear_connections={pod.name: pod.report.clear_connections for pod in pods if pod.report},
        identities=tuple(_identities(pods)),
        samples=tuple(_samples(capture, {port.port for port in evidence.ports})),
    )


def read_statistics(file: Path) -> Statistics:
    """Return what a pod's program last wrote. Raises `LocalModeError` when there is nothing."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Statistics)
    except (OSError, msgspec.DecodeError) as error:
        raise LocalModeError(f"the program of {file.stem} tells nothing: {error}") from error


def _identities(pods: Sequence[PodView]) -> Iterator[PeerIdentity]:
    for pod in pods:
        for peer in pods:
            if peer.name != pod.name and pod.report is not None:
                found = _peer(pod, peer)
                yield PeerIdentity(
                    pod=pod.name,
                    peer=peer.name,
                    spiffe_id=pod.spiffe_id,
                    peer_spiffe_id=found.spiffe_id,
                    cipher=found.cipher,
                    key_exchange=found.key_exchange,
                    certificate_seconds_left=max(0.0, pod.report.certificate_expires - time.time()),
                )


def _peer(pod: PodView, peer: PodView) -> PeerReport:
    known = pod.report.snapshot.peers if pod.report else ()
    mine = [each for each in known if each.address in peer.addresses]
    return next((each for each in mine if each.spiffe_id), PeerReport(address=peer.addresses[0], state="clear"))


def _samples(capture: Path, ports: Set[int]) -> Iterator[Sample]:
    """One piece of each port: readable text if there is any, otherwise the begin of a record of application data."""
    missing = set(ports)
    for frame in read_pcap(capture):
        segment = parse_frame(frame.data)
        port = missing & {segment.source_port, segment.destination_port} if segment else None
        if segment is None or not port:
            continue
        begin = max(segment.payload.find(SECRET), 0)
        if begin or segment.payload.startswith((SECRET, _APPLICATION_DATA)):
            yield Sample(
                source=segment.source,
                destination=segment.destination,
                port=min(port),
                payload=segment.payload[begin : begin + _SAMPLE_BYTES].hex(),
            )
            missing -= port
