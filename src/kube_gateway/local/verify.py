"""Proof, for two running pods, of what is readable on the wire between them.

Counters and certificates say what a gateway believes. Here a fresh random secret is sent from one pod to the
other by an ordinary program, with the wire captured meanwhile: it has to arrive, its hash has to come back,
and neither may be found in what crossed the wire. That the capture saw the traffic at all is checked too; an
empty one proves nothing. And the other way round: what the hooks of the sending pod have counted must be what the capture
shows to have left it.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from kube_gateway.errors import CaptureError, LocalModeError
from kube_gateway.local.api import PodView
from kube_gateway.local.client import LocalClient
from kube_gateway.local.launch import in_pod
from kube_gateway.local.network import namespace_path
from kube_gateway.local.probe import SECRET_LENGTH, answer_to
from kube_gateway.model.flow import PeerReport
from kube_gateway.model.ports import PLAIN_TUNNEL_PORT, TLS_TUNNEL_PORT
from kube_gateway.model.sent import SentReport
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.leaving import leaving
from kube_gateway.observe.proof import Evidence, PortTraffic, Sighting, examine

_PROBE = (sys.executable, "-m", "kube_gateway.local.probe")
_PROBE_SECONDS = 15.0
_REPORT_SECONDS = 3.0
_POLL = 0.1

_Probe = subprocess.Popen[str]


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a secret from pod `client` to pod `server` (`address`:`port`), and of the answer.

    `problem` says why it did not arrive, or is empty. `where` is each place on the wire where one of the two
    was readable: marker `secret` or `answer`. `ports` is all TCP traffic of the capture, by server port.
    Identity, cipher and key exchange are those that the client's gateway reports of its newest session with
    the server, empty without one; `certificate_expires` is seconds since the epoch. `not_enrolled`
    names those of the two that no annotation asks to encrypt. `captured` is TCP payload that left the client, by the
    capture, `counted` what its hooks have counted from a little before it until a little after it, None where there are
    none; both are bytes by kind.
    """

    client: str
    server: str
    address: str
    port: int
    arrived: bool
    answered: bool
    problem: str
    seen_in_clear: bool
    where: tuple[Sighting, ...]
    ports: tuple[PortTraffic, ...]
    frames: int
    client_spiffe_id: str
    server_spiffe_id: str
    cipher: str
    key_exchange: str
    certificate_expires: float
    not_enrolled: tuple[str, ...]
    captured: dict[str, int]
    counted: dict[str, int] | None

    @property
    def encrypted(self) -> bool:
        """Whether the secret and its answer went through and neither was readable on the wire."""
        return self.arrived and self.answered and not self.seen_in_clear

    @property
    def counted_right(self) -> bool:
        """Whether the hooks have seen everything that the capture has; they may have seen more, being asked later."""
        return self.counted is None or not _short(self.counted, self.captured)


def verify(local: LocalClient, *, client: str, server: str, ipv6: bool = False) -> Verification:
    """Send a secret from pod `client` to pod `server` and tell what the wire showed.

    Raises `LocalModeError` for an unknown pod, or one that is not running, and `CaptureError` when the wire
    could not be observed completely.
    """
    sender, receiver = _running(local, client), _running(local, server)
    address = _address(receiver, ipv6=ipv6)
    secret = secrets.token_hex(SECRET_LENGTH // 2)
    before = _counted_before(local, client)
    pcap = _capture_file(local)
    try:
        with _listener(local, server, address) as (listener, port):
            bridge = namespace_path(local.instance.namespace)
            with Capture.start(interface=sender.interface, output=pcap, namespace=bridge) as capture:
                answer, problem = _send(local, client, f"{address} {port} {secret}\n")
                summary = capture.stop()
            arrived = _received(listener) == secret
        markers = {"secret": secret.encode(), "answer": answer_to(secret).encode()}
        evidence = examine(pcap, markers=markers, dropped=summary.dropped)
        captured = leaving(pcap, addresses=sender.addresses)
    finally:
        pcap.unlink(missing_ok=True)
    if arrived:
        _check_observed(evidence, port)
    peer = _peer_report(local, client, address, tunnelled=arrived and not evidence.sightings)
    return Verification(
        client=client,
        server=server,
        address=address,
        port=port,
        arrived=arrived,
        answered=answer == answer_to(secret),
        problem=problem,
        seen_in_clear=bool(evidence.sightings),
        where=evidence.sightings,
        ports=tuple(traffic for traffic in evidence.ports if traffic.payload_bytes),
        frames=evidence.frames,
        client_spiffe_id=sender.spiffe_id,
        server_spiffe_id=peer.spiffe_id,
        cipher=peer.cipher,
        key_exchange=peer.key_exchange,
        certificate_expires=peer.certificate_expires,
        captured=captured,
        counted=_counted_since(local, client, before, captured),
        not_enrolled=tuple(pod.name for pod in (sender, receiver) if pod.encryption in {"off", "none"}),
    )


def _running(local: LocalClient, name: str) -> PodView:
    pod = local.pod(name)
    if pod.state != "running":
        raise LocalModeError(
            f"pod {name} is not running: {pod.state}",
            hint=f"kube-gateway local --instance {local.instance.name} logs {name}",
        )
    return pod


def _address(pod: PodView, *, ipv6: bool) -> str:
    for address in pod.addresses:
        if (":" in address) == ipv6:
            return address
    raise LocalModeError(f"pod {pod.name} has no IPv{6 if ipv6 else 4} address")


def _capture_file(local: LocalClient) -> Path:
    local.instance.captures.mkdir(mode=0o700, parents=True, exist_ok=True)
    return local.instance.captures / f"verify-{secrets.token_hex(4)}.pcap"


@contextmanager
def _listener(local: LocalClient, pod: str, address: str) -> Iterator[tuple[_Probe, int]]:
    """The answering end in `pod` and the port that it listens on; it is gone afterwards."""
    process = _start(local, pod, "listen", address)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            _, words = process.communicate()
            raise LocalModeError(f"nothing can listen in pod {pod}: {words.strip() or 'no reason given'}")
        yield process, int(line)
    finally:
        process.kill()
        process.communicate()


def _send(local: LocalClient, pod: str, request: str) -> tuple[str, str]:
    """Run the sending end in `pod`; return the answer and what went wrong, either may be empty."""
    process = _start(local, pod, "send")
    try:
        answer, words = process.communicate(request, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "", f"no answer within {_PROBE_SECONDS:g} s"
    return answer.strip(), words.strip()


def _received(listener: _Probe) -> str:
    """What the answering end got, without waiting for more than it needs to print it."""
    try:
        line, _ = listener.communicate(timeout=1)
    except subprocess.TimeoutExpired:
        return ""
    return line.split()[-1] if line.split() else ""


def _start(local: LocalClient, pod: str, *arguments: str) -> _Probe:
    command = in_pod(local.instance, pod, [*_PROBE, *arguments])
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def _check_observed(evidence: Evidence, port: int) -> None:
    ways = {port, TLS_TUNNEL_PORT, PLAIN_TUNNEL_PORT}
    carried = sum(traffic.payload_bytes for traffic in evidence.ports if traffic.port in ways)
    if carried < SECRET_LENGTH:
        raise CaptureError(
            "the secret arrived, but the capture has no traffic that could have carried it",
            hint="is there a way between the two pods other than the bridge?",
        )


def _peer_report(local: LocalClient, pod: str, address: str, *, tunnelled: bool) -> PeerReport:
    """What the gateway of `pod` knows of `address`; if they must have spoken, wait for the report that says so."""
    deadline = time.monotonic() + (_REPORT_SECONDS if tunnelled else 0)
    while True:
        report = local.gateway_report(pod)
        for peer in report.snapshot.peers if report else ():
            if peer.address == address and peer.spiffe_id:
                return peer
        if time.monotonic() >= deadline:
            return PeerReport(address=address, state="clear")
        time.sleep(_POLL)


def _counted_before(local: LocalClient, pod: str) -> SentReport | None:
    """What was counted so far; of a gateway that is ready there is a count within a second."""
    deadline = time.monotonic() + _REPORT_SECONDS
    while (counted := _counted(local, pod)) is None and time.monotonic() < deadline:
        if local.pod(pod).gateway != "ready":
            return None
        time.sleep(_POLL)
    return counted


def _counted(local: LocalClient, pod: str) -> SentReport | None:
    report = local.gateway_report(pod)
    return report.sent if report is not None else None


def _counted_since(
    local: LocalClient, pod: str, before: SentReport | None, captured: Mapping[str, int]
) -> dict[str, int] | None:
    """What was counted since `before`, as soon as that is all that was captured; None if nobody counts."""
    deadline = time.monotonic() + _REPORT_SECONDS
    while True:
        now = _counted(local, pod)
        if before is None or now is None or now.since != before.since:
            return None
        counted = {kind: count - before.totals.get(kind, 0) for kind, count in now.totals.items()}
        if not _short(counted, captured) or time.monotonic() >= deadline:
            return counted
        time.sleep(_POLL)


def _short(counted: Mapping[str, int], captured: Mapping[str, int]) -> bool:
    """Whether something was captured that was not counted.

    A connection that begins in clear and goes on as TLS is of two kinds for the hooks, and of one for the capture.
    """
    outside = sum(counted.get(kind, 0) for kind in ("tls", "plain"))
    return counted.get("tunnel", 0) < captured["tunnel"] or outside < captured["tls"] + captured["plain"]
