"""kube-gateway on the test cluster, by the commands that its users type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster import Cluster, ClusterError

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("kube-gateway")
NAMESPACE = "kube-gateway"
IMAGE = "ghcr.io/kube-gateway/kube-gateway:0.1.0"
PREFIX = "kube-gateway.io/"
CONDITION = f"{PREFIX}Encrypted"

# This node has cgroups of both versions.
ARGUMENTS = ("--privileged=when-needed",)


class Product:
    """The watcher in the cluster, and what users do with it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`kube-gateway ARGUMENTS`. Raises ClusterError when it fails, unless there is no `check`."""
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)}
        done = subprocess.run(
            [PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        if check and done.returncode != 0:
            raise ClusterError(f"kube-gateway {' '.join(arguments)} failed ({done.returncode}): {done.stderr}")
        return done

    def authority_by_ourselves(self) -> None:
        """A new authority, by our own commands."""
        self.run("ca", "create", "--directory", str(self.directory))
        self.run("ca", "load", "--directory", str(self.directory))

    def authority_by_openssl(self) -> None:
        """A new authority, as the documentation has it for those who have one already."""
        key, certificate = self.directory / "ca.key", self.directory / "ca.crt"
        for command in (
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key],
            ["openssl", "req", "-new", "-x509", "-days", "3650", "-subj", "/CN=root", "-key", key, "-out", certificate],
        ):
            subprocess.run(command, check=True, capture_output=True)
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        files = (f"--from-file=ca-key={key}", f"--from-file=ca-cert={certificate}")
        self.cluster.kubectl("create", "secret", "generic", "watcher", "-n", NAMESPACE, *files)

    def install(self, *arguments: str) -> None:
        """Install the watcher, or change its arguments, and wait until it serves."""
        manifest = self.run("install", "--", *ARGUMENTS, *arguments).stdout
        self.cluster.kubectl("apply", "-f", "-", input=manifest)
        self.serving()

    def serving(self) -> None:
        """Wait until all watchers of the newest manifest run."""
        self.cluster.kubectl("rollout", "status", "-n", NAMESPACE, "deployment/kube-gateway-watcher", "--timeout=90s")

    def uninstall(self) -> None:
        """Remove all that `install` and the commands for the authority have made."""
        self.cluster.kubectl("delete", "-f", str(ROOT / "deploy/watcher.yaml"), "--ignore-not-found", "--timeout=90s")

    def leader(self) -> str:
        """The pod of the watcher that leads."""
        lease = self.cluster.get("lease", "kube-gateway-watcher", NAMESPACE)
        return str(lease["spec"].get("holderIdentity") or "").partition("_")[0]

    def watchers(self) -> list[str]:
        """The pods of all watchers that are not being deleted."""
        found = json.loads(self.cluster.kubectl("get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def log(self) -> str:
        """What the watchers have said."""
        return "".join(self.cluster.logs(pod, namespace=NAMESPACE) for pod in self.watchers())

    def annotate(self, pod: str, namespace: str, **annotations: str | None) -> None:
        """Annotations without their prefix; `_` stands for `-`."""
        changes = {PREFIX + key.replace("_", "-"): value for key, value in annotations.items()}
        self.cluster.annotate(pod, namespace, **changes)

    def enrol(self, *pods: str, namespace: str, **annotations: str) -> None:
        """Annotate pods and wait until they encrypt."""
        for pod in pods:
            self.annotate(pod, namespace, **{"encrypt": "true", **annotations})
        for pod in pods:
            self.cluster.wait(f"pod/{pod}", CONDITION, namespace=namespace)

    def condition(self, pod: str, namespace: str) -> dict[str, str]:
        """Our condition of a pod; empty if it has none."""
        return condition(self.cluster.get("pod", pod, namespace))

    def events(self, pod: str, namespace: str) -> list[tuple[str, str]]:
        """Reason and note of our events of a pod, oldest first; those of earlier pods of its name are not among them."""
        uid = self.cluster.get("pod", pod, namespace)["metadata"]["uid"]
        listed = self.cluster.kubectl("get", "events.events.k8s.io", "-n", namespace, "-o", "json")
        ours = [
            (event["eventTime"], event["reason"], event["note"])
            for event in json.loads(listed)["items"]
            if event.get("reportingController") == f"{PREFIX}watcher" and event["regarding"].get("uid") == uid
        ]
        return [(reason, note) for _, reason, note in sorted(ours)]


def condition(pod: dict[str, Any]) -> dict[str, str]:
    """Our condition of a pod; empty if it has none."""
    conditions = pod["status"].get("conditions", [])
    return next((found for found in conditions if found["type"] == CONDITION), {})


def gateways(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """The statuses of a pod's gateways, oldest first."""
    statuses = pod["status"].get("ephemeralContainerStatuses", [])
    return sorted(statuses, key=lambda status: (len(status["name"]), status["name"]))


def serving(pod: dict[str, Any]) -> list[str]:
    """The names of the gateways that run."""
    return [status["name"] for status in gateways(pod) if "running" in status["state"]]
