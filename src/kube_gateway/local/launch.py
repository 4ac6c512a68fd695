"""How a process gets into a pod.

It enters the namespace and the cgroup first and becomes the command only then, as the hooks follow the cgroup that a
socket was made in. `ip netns exec` would hide the cgroup tree. Every step is an exec, so the process id stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from kube_gateway.local.cgroups import APPLICATION, pod_cgroup
from kube_gateway.local.instance import Instance
from kube_gateway.local.network import namespace_path


def in_namespace(namespace: str, command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a network namespace."""
    return ["nsenter", f"--net={namespace_path(namespace)}", "--", *command]


def in_pod(instance: Instance, pod: str, command: Sequence[str], *, role: str = APPLICATION) -> list[str]:
    """The command line that runs `command` in a pod, as its application or its gateway."""
    processes = pod_cgroup(instance, pod) / role / "cgroup.procs"
    # The command comes as arguments: no word of it is read by the shell.
    enter = ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(processes), *command]
    return in_namespace(instance.pod_namespace(pod), enter)
