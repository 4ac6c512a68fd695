"""The story of the demo: two programs, enrolled one after the other while they run.

It is told with the product's own means (local mode, annotations, gateways) and judged by what the wire shows. The first
pod's wire is captured once in each stage, after the change has taken effect; the programs run through all of it, and one
failed request anywhere fails the demo.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from kube_gateway.demo.collect import collect, read_statistics
from kube_gateway.demo.evidence import STAGES, Stage, objections
from kube_gateway.errors import KubeGatewayError, LocalModeError, UsageError
from kube_gateway.local.api import PodView
from kube_gateway.local.client import LocalClient
from kube_gateway.local.instance import Instance
from kube_gateway.local.lifecycle import down, up
from kube_gateway.local.preflight import check_machine
from kube_gateway.model.flow import PeerReport
from kube_gateway.model.ports import ANNOTATION_PREFIX

FIRST, SECOND = "pod-01", "pod-02"

_CERTIFICATE_LIFE = 3600.0
_WITHIN = 15.0
_POLL = 0.05


class Demo:
    """One run of the demo on an instance of its own.

    `made` says whether there is something for `end` to undo, which may be called at any time. The methods raise
    `KubeGatewayError`.
    """

    def __init__(self, instance: str, *, captures: Path) -> None:
        self.captures = captures
        self._local = LocalClient(instance)
        self._directory = self._local.instance.directory / "demo"
        self._statistics = {pod: self._directory / f"{pod}.json" for pod in (FIRST, SECOND)}
        self.made = False

    def begin(self) -> tuple[PodView, ...]:
        """Start the instance and both pods, and wait until they talk. Raises `LocalModeError` when it is there already."""
        instance = self._local.instance
        check_machine()
        _refuse_existing(instance)
        self.made = True
        self._make_captures_directory()
        up(instance, certificate_life=_CERTIFICATE_LIFE)
        self._directory.mkdir(mode=0o700)
        pods = (self._run(FIRST, peer=SECOND), self._run(SECOND, peer=FIRST))
        # They begin to talk when they can find each other, which is when both listen: no failure is forgiven.
        for pod in pods:
            self._wait(f"{pod.name} does not start", self._statistics[pod.name].exists)
        self._hosts.write_text("".join(f"{pod.addresses[0]} {pod.name}\n" for pod in pods))
        for pod in pods:
            self._wait(f"{pod.name} does not reach its peer", partial(_is_talking, self._statistics[pod.name]))
        return tuple(self._local.pod(pod.name) for pod in pods)

    def stages(self) -> Iterator[Stage]:
        """Yield the evidence of each stage; then, if it does not show what it must, raise `KubeGatewayError`."""
        changes: dict[str, Callable[[], None]] = {
            "clear": lambda: None,
            "one-enrolled": self._enrol_first,
            "both-enrolled": self._enrol_second,
            "flushed": self._flush,
        }
        before: Stage | None = None
        for name in STAGES:
            changes[name]()
            capture = self.captures / f"{STAGES.index(name) + 1}-{name}.pcap"
            stage = collect(name, local=self._local, statistics=self._statistics, capture=capture)
            yield stage
            if wrong := objections(stage, before=before):
                raise KubeGatewayError(f"stage {name}: " + "; ".join(wrong), hint=f"look at {capture}")
            before = stage

    def end(self) -> None:
        """Remove the instance, if this run has made it. The captures stay."""
        if self.made:
            down(self._local.instance)

    @property
    def _hosts(self) -> Path:
        return self._directory / "hosts"

    def _make_captures_directory(self) -> None:
        try:
            self.captures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.captures} cannot hold the captures: {error.strerror}", hint="give another: --captures DIR"
            ) from error

    def _run(self, name: str, *, peer: str) -> PodView:
        program = [sys.executable, "-m", "kube_gateway.demo.workload", "--name", name, "--peer", peer]
        files = ["--hosts", str(self._hosts), "--stats", str(self._statistics[name]), "--stats-seconds", "0.1"]
        return self._local.run(name, [*program, *files], service_account=name, directory=Path("/"))

    def _enrol_first(self) -> None:
        self._annotate(FIRST, encrypt="true")

    def _enrol_second(self) -> None:
        self._annotate(SECOND, encrypt="true")
        for pod, peer in ((FIRST, SECOND), (SECOND, FIRST)):
            self._wait(f"the gateway of {pod} opens no tunnel to {peer}", partial(self._tunnels, pod, peer))

    def _flush(self) -> None:
        for pod in (FIRST, SECOND):
            self._annotate(pod, netflush="true")
        for pod in (FIRST, SECOND):
            self._wait(f"{pod} keeps connections in clear", partial(self._has_nothing_in_clear, pod))

    def _annotate(self, pod: str, **annotations: str) -> None:
        self._local.annotate(pod, {ANNOTATION_PREFIX + key: value for key, value in annotations.items()})
        self._local.wait_settled(pod, timeout=_WITHIN)

    def _tunnels(self, pod: str, peer: str) -> bool:
        addresses = self._local.pod(peer).addresses
        report = self._local.gateway_report(pod)
        known: tuple[PeerReport, ...] = report.snapshot.peers if report else ()
        return any(each.address in addresses and each.state == "enrolled" and each.tunnelled for each in known)

    def _has_nothing_in_clear(self, pod: str) -> bool:
        report = self._local.gateway_report(pod)
        reconnected = read_statistics(self._statistics[pod]).reconnects > 0
        return reconnected and report is not None and not report.clear_connections

    def _wait(self, otherwise: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WITHIN
        while not condition():
            if time.monotonic() > deadline:
                raise LocalModeError(
                    f"{otherwise} after {_WITHIN:g} s", hint="run the demo with --keep and look at the pods' logs"
                )
            time.sleep(_POLL)


def _is_talking(file: Path) -> bool:
    program = read_statistics(file)
    return program.requests_ok > 0 and program.hello_received > 0


def _refuse_existing(instance: Instance) -> None:
    if instance.directory.exists():
        raise LocalModeError(
            f"the instance {instance.name!r} is up already, and the demo begins from nothing",
            hint=f"kube-gateway local --instance {instance.name} down, or choose another: --instance NAME",
        )
