"""The test cluster as tests use it: kubectl and containerd of a node that node/node.sh has started, with waiting that says
what it waited for."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

DEFAULT_DIRECTORY = "/var/tmp/kube-gateway-cluster"
TIMEOUT = 60.0
NODE = Path(__file__).parent / "node" / "node.sh"


class ClusterError(Exception):
    """A command on the cluster failed; the text has what it said."""


class Cluster:
    """The cluster in `directory` (default: $KUBE_GATEWAY_TEST_CLUSTER, or where `make cluster` puts it)."""

    def __init__(self, directory: Path | str | None = None) -> None:
        self.directory = Path(directory or os.environ.get("KUBE_GATEWAY_TEST_CLUSTER") or DEFAULT_DIRECTORY)

    @property
    def running(self) -> bool:
        """Whether there is a cluster and its API server answers."""
        if not (self.directory / "complete").exists():
            return False
        try:
            return self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s") == "ok"
        except ClusterError:
            return False

    @property
    def ipv6(self) -> bool:
        """Whether pods and Services have IPv6 addresses beside IPv4."""
        return "ipv6=true" in (self.directory / ".kube-gateway-cluster").read_text()

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "kubeconfig"

    # --- Objects ---

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """What kubectl prints. Without `check` a failure is not an error, and its message comes after the output."""
        return self._node("kubectl", *args, input=input, check=check)

    def apply(self, yaml_text: str, namespace: str = "default") -> None:
        """Create or change the objects in `yaml_text`; those that name no namespace go to `namespace`."""
        self.kubectl("apply", "-n", namespace, "-f", "-", input=yaml_text)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """One object."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def annotate(self, pod: str, namespace: str = "default", **annotations: str | None) -> None:
        """Set annotations of a pod; None removes one. Keys with dots and slashes: annotate(pod, **{"a.b/c": "true"})."""
        changes = [f"{key}-" if value is None else f"{key}={value}" for key, value in annotations.items()]
        self.kubectl("annotate", "pod", pod, "-n", namespace, "--overwrite", *changes)

    def add_ephemeral_container(self, pod: str, container: dict[str, Any], namespace: str = "default") -> None:
        """Add `container` to a running pod. (kubectl debug cannot take environment from a Secret.)"""
        changed = self.get("pod", pod, namespace)
        changed["spec"].setdefault("ephemeralContainers", []).append(container)
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/ephemeralcontainers"
        self.kubectl("replace", "--raw", path, "-f", "-", input=json.dumps(changed))

    # --- Waiting ---

    def wait(self, what: str, condition: str, timeout: float = TIMEOUT, namespace: str = "default") -> None:
        """Until `what` ("pod/web") is so: "Ready", "delete", "create", or anything else that kubectl wait --for takes."""
        if "=" not in condition and condition not in ("delete", "create"):
            condition = f"condition={condition}"
        try:
            self.kubectl("wait", what, f"--for={condition}", f"--timeout={timeout}s", "-n", namespace)
        except ClusterError as error:
            state = "" if condition == "delete" else self.kubectl("describe", what, "-n", namespace, check=False)
            raise AssertionError(f"{what} is not {condition} after {timeout:g} s: {error}\n{state}") from None

    def eventually(self, what: str, predicate: Callable[[], T], timeout: float = TIMEOUT, every: float = 0.2) -> T:
        """The first true value of `predicate`. That something is not there yet counts as not true."""
        deadline = time.monotonic() + timeout
        while True:
            last: object
            try:
                last = value = predicate()
                if value:
                    return value
            except (ClusterError, LookupError) as error:
                last = error
            if time.monotonic() >= deadline:
                raise AssertionError(f"{what}: not so after {timeout:g} s; at last: {last!r}")
            time.sleep(every)

    # --- Containers ---

    def logs(self, pod: str, container: str | None = None, namespace: str = "default", previous: bool = False) -> str:
        """What a container has written."""
        options = [*(["-c", container] if container else []), *(["--previous"] if previous else [])]
        return self.kubectl("logs", pod, "-n", namespace, *options)

    def exec(self, pod: str, *command: str, container: str | None = None, namespace: str = "default") -> str:
        """What a command prints that runs in a container, which is the pod's first one if not said."""
        options = ["-c", container] if container else []
        return self.kubectl("exec", pod, "-n", namespace, *options, "--", *command)

    def container_id(self, pod: str, container: str | None = None, namespace: str = "default") -> str:
        """What containerd calls a container, the pod's first one if not said."""
        status = self.get("pod", pod, namespace)["status"]
        kinds = ("containerStatuses", "ephemeralContainerStatuses", "initContainerStatuses")
        for state in (state for kind in kinds for state in status.get(kind, [])):
            if container is None or state["name"] == container:
                return str(state.get("containerID", "")).removeprefix("containerd://")
        raise ClusterError(f"pod {namespace}/{pod} has no container {container}")

    def pod_pid(self, pod: str, container: str | None = None, namespace: str = "default") -> int:
        """The number that a container's first process has on the machine: the way to its namespaces and cgroup."""
        identity = self.container_id(pod, container, namespace)
        for line in self._node("ctr", "tasks", "list").splitlines()[1:]:
            task, pid, task_status = line.split()
            if task == identity and task_status == "RUNNING":
                return int(pid)
        raise ClusterError(f"container {container or 'one'} of pod {namespace}/{pod} does not run")

    def exec_by_runtime(self, container: str, *command: str) -> str:
        """What a command prints that runs in a container, by `container_id`, without the help of the API server."""
        return self._node("ctr", "tasks", "exec", "--exec-id", f"test-{time.monotonic_ns()}", container, *command)

    def load_image(self, tar: Path | str) -> None:
        """Make an image known to the node. Pods need imagePullPolicy: Never."""
        self._node("load", str(tar))

    def tag_image(self, image: str, name: str) -> None:
        """Make an image known to the node by another name too."""
        self._node("ctr", "images", "tag", "--force", image, name)

    # --- Outages ---

    def stop_api(self) -> None:
        """End the API server as a crash would: no goodbye to anyone. What runs on the node runs on."""
        self._node("stop-api")

    def start_api(self) -> None:
        """Start the API server again and wait until it answers."""
        self._node("start-api")

    @contextmanager
    def without_api(self) -> Iterator[None]:
        """The API server is away; it comes back also when the test fails."""
        self.stop_api()
        try:
            yield
        finally:
            self.start_api()

    def _node(self, verb: str, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        command = [str(NODE), verb, str(self.directory), *args]
        # The pipes end with node.sh, also when it has started the API server: what it starts writes to files.
        done = subprocess.run(
            command,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return done.stdout
        if check:
            raise ClusterError(
                f"{verb} {' '.join(args)} failed ({done.returncode}): {(done.stderr or done.stdout).strip()}"
            )
        return done.stdout + done.stderr
