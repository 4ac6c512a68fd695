"""Two pods and a load generator: the same path for every candidate."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from kube_gateway.local import cgroups, lifecycle
from kube_gateway.local.client import LocalClient
from kube_gateway.local.instance import Instance
from kube_gateway.local.launch import in_pod

INSTANCE = "bench"
PORT = 9100
LOAD = str(Path(__file__).resolve().parents[1] / "target" / "release" / "kube-gateway-load")

# Sockets in TIME_WAIT make every connect() search longer for a port and would be measured instead of the proxies.
_TIME_WAIT = "net.ipv4.tcp_max_tw_buckets=64"
_LOAD_TIMEOUT = 120


class Rig:
    """The pods `client` and `server` of a local mode of its own; the server runs a verb of the load generator."""

    def __init__(self, *serve: str) -> None:
        self._serve = serve or ("serve", "--listen", f"[::]:{PORT}")
        self.instance = Instance(INSTANCE)
        self.local = LocalClient(INSTANCE)
        self._alone = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Rig:
        # A name of which the kernel lets one process have one, and forgets it with the process.
        try:
            self._alone.bind("\0kube-gateway-bench")
        except OSError as error:
            raise RuntimeError("another benchmark is running on this machine") from error
        lifecycle.down(self.instance)
        try:
            lifecycle.up(self.instance, certificate_life=3600)
            self.local.run("server", [LOAD, *self._serve])
            self.local.run("client", ["sleep", "infinity"])
            for pod in ("client", "server"):
                self.run(pod, ["sysctl", "-qw", _TIME_WAIT])
        except BaseException:
            lifecycle.down(self.instance)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lifecycle.down(self.instance)
        self._alone.close()

    def address(self, pod: str) -> str:
        """The IPv4 address of a pod."""
        return self.local.pod(pod).addresses[0]

    def run(self, pod: str, command: list[str]) -> str:
        """Run a command in a pod and return what it prints. Raises `RuntimeError` with its error output."""
        line = in_pod(self.instance, pod, command)
        done = subprocess.run(line, capture_output=True, text=True, timeout=_LOAD_TIMEOUT, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, pod: str, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command in a pod."""
        with log.open("wb") as file:
            return subprocess.Popen(in_pod(self.instance, pod, command), stdout=file, stderr=file)

    def load(self, verb: str, to: str, *options: str) -> dict[str, Any]:
        """Run the load generator in the client pod and return what it measured."""
        result: dict[str, Any] = json.loads(self.run("client", [LOAD, verb, "--to", to, *options]))
        return result

    def enrol(self) -> None:
        """Give both pods a gateway."""
        for pod in ("client", "server"):
            self.local.annotate(pod, {"kube-gateway.io/encrypt": "true"})
        for pod in ("client", "server"):
            self.local.wait_settled(pod, timeout=30)
        # What was known of peers before they were enrolled is remembered for a quarter of a second.
        time.sleep(0.5)

    def release(self) -> None:
        """Take the gateways away again."""
        for pod in ("client", "server"):
            self.local.annotate(pod, {}, remove=["kube-gateway.io/encrypt"])
        deadline = time.monotonic() + 30
        while any(pod.gateway != "none" for pod in self.local.pods()):
            if time.monotonic() > deadline:
                raise RuntimeError("the gateways do not leave")
            time.sleep(0.1)

    def gateway_processes(self, pod: str) -> list[int]:
        """Supervisor and worker of a pod's gateway."""
        return cgroups.members(cgroups.pod_cgroup(self.instance, pod) / cgroups.GATEWAY)
