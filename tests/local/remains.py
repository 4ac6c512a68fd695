"""What an instance or a pod leaves on the machine, for tests that nothing is left."""

from __future__ import annotations

from pathlib import Path

from kube_gateway.local import cgroups
from kube_gateway.local.store import start_time


def of_instance(instance) -> list[str]:
    """Namespaces, cgroups, files and processes of an instance."""
    name = instance.instance.name
    found = [path for path in Path("/run/netns").iterdir() if path.name.split("-")[:2] == ["kgw", name]]
    found += [
        path for path in (instance.instance.directory, cgroups.instance_cgroup(instance.instance)) if path.exists()
    ]
    return [str(path) for path in found] + processes(f"/kube-gateway-{name}/")


def of_pod(instance, pod: str) -> list[str]:
    """Namespace, cgroup and files of a pod."""
    paths = (
        Path("/run/netns") / instance.instance.pod_namespace(pod),
        instance.instance.pod_directory(pod),
        cgroups.pod_cgroup(instance.instance, pod),
    )
    return [str(path) for path in paths if path.exists()]


def processes(cgroup: str) -> list[str]:
    """Processes whose cgroup has this in its path. One that has ended and waits for its parent to notice is none."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            inside = cgroup in path.read_text()
        except OSError:
            continue
        if inside and start_time(int(path.parent.name)):
            found.append(path.parent.name)
    return found


def manager_pid(instance) -> int:
    """The process id of the instance's manager."""
    (pid,) = cgroups.members(cgroups.instance_cgroup(instance.instance) / "manager")
    return pid
