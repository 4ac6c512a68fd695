"""Programs in pods that talk all the time and count what fails, and what is seen of it on the wire."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from product import IMAGE

from cluster import Cluster
from kube_gateway.model.ports import TLS_TUNNEL_PORT
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.packets import parse_frame
from kube_gateway.observe.pcap import read_pcap
from kube_gateway.observe.proof import Evidence, examine

Statistics = dict[str, Any]


def pod(name: str, *arguments: str, **spec: Any) -> str:
    """A pod with the demo's program, as YAML (which JSON is)."""
    container = {
        "name": "app",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-m", "kube_gateway.demo.workload", f"--name={name}", *arguments],
        "securityContext": {"runAsUser": 1000, "runAsNonRoot": True},
    }
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container], **spec},
    }
    return json.dumps(body) + "\n---\n"


def service(name: str, *, app: str | None = None, **spec: Any) -> str:
    """A Service before the demo's programs labelled `app`, as YAML."""
    ports = [{"name": "hello", "port": 9000}, {"name": "http", "port": 9080}]
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app or name}, "ipFamilyPolicy": "PreferDualStack", "ports": ports, **spec},
    }
    return json.dumps(body) + "\n---\n"


def statistics(cluster: Cluster, pod: str, namespace: str) -> Statistics:
    """What the program in a pod has counted so far; it prints that once a second."""
    lines = cluster.kubectl("logs", pod, "-c", "app", "--tail=1", "-n", namespace).splitlines()
    found: Statistics = json.loads(lines[-1]) if lines else {}
    return found


def answered(cluster: Cluster, pod: str, namespace: str, *, more: int = 4, timeout: float = 20) -> Statistics:
    """Wait until `more` requests of the pod have been answered from now on."""
    before = statistics(cluster, pod, namespace).get("requests_ok", 0)

    def enough() -> Statistics | None:
        now = statistics(cluster, pod, namespace)
        return now if now.get("requests_ok", 0) >= before + more else None

    return cluster.eventually(f"{more} more answers for {pod}", enough, timeout=timeout)


def reconnects(cluster: Cluster, *pods: str, namespace: str) -> dict[str, int]:
    """How often each pod's standing connection was made anew."""
    return {pod: statistics(cluster, pod, namespace)["reconnects"] for pod in pods}


def made_anew(cluster: Cluster, before: dict[str, int], *, namespace: str) -> None:
    """Wait until the standing connection of each pod has been ended and made anew since there were as many `before`."""

    def all_are() -> bool:
        return all(now > before[pod] for pod, now in reconnects(cluster, *before, namespace=namespace).items())

    cluster.eventually("the connections in clear are made anew", all_are)


def trouble(counted: Statistics) -> dict[str, int]:
    """What must not change while nothing goes wrong. (At the start, a peer may not be there yet.)"""
    return {key: counted[key] for key in ("pid", "requests_failed")}


@contextmanager
def undisturbed(cluster: Cluster, *pods: str, namespace: str) -> Iterator[None]:
    """While this lasts, no request of the pods may fail, and no program of theirs be started again."""
    before = {pod: statistics(cluster, pod, namespace) for pod in pods}
    yield
    for pod in pods:
        now = answered(cluster, pod, namespace)
        assert trouble(now) == trouble(before[pod]), now["last_error"]
        assert cluster.get("pod", pod, namespace)["status"]["containerStatuses"][0]["restartCount"] == 0


def wire_of(cluster: Cluster, pod: str, namespace: str) -> str:
    """The node's end of the pod's network device."""
    pid = cluster.pod_pid(pod, "app", namespace)
    # Not by /sys, which shows the devices of the namespace that it was mounted in.
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-j", "link", "show", "eth0"]
    number = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[0]["link_index"]
    return socket.if_indextoname(number)


@contextmanager
def captured(cluster: Cluster, pod: str, namespace: str, file: Path) -> Iterator[list[Evidence]]:
    """Capture all that a pod sends and receives; the evidence is there when this has ended."""
    evidence: list[Evidence] = []
    with Capture.start(interface=wire_of(cluster, pod, namespace), output=file) as capture:
        yield evidence
        summary = capture.stop()
    evidence.append(examine(file, markers={"hello": b"Hello from "}, dropped=summary.dropped))


def first_tunnel(pcap: Path, *, source: list[dict[str, str]]) -> float:
    """When the first connection from one of the addresses to a tunnel port began, in seconds since the epoch."""
    addresses = {address["ip"] for address in source}
    for frame in read_pcap(pcap):
        segment = parse_frame(frame.data)
        if segment is None or segment.destination_port != TLS_TUNNEL_PORT:
            continue
        if segment.starts_connection and segment.source in addresses:
            return frame.time / 1e9
    raise AssertionError("no connection to a tunnel port was made")


def kill(*pids: int) -> None:
    """End containers' first processes as a crash would; each was found by `Cluster.pod_pid`."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process hangs while this lasts; it was found by `Cluster.pod_pid`."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        # The liveness probe may have ended it meanwhile.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
