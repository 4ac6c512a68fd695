"""Cgroups of the local mode: one for the instance, one for each pod, with a child each for application and gateway.

The hooks are attached to the pod's; the gateway's own sockets are told from the application's by its child.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from kube_gateway.errors import EnvironmentProblem, LocalModeError
from kube_gateway.local.instance import Instance

APPLICATION = "app"
GATEWAY = "gateway"

_KILL_WITHIN = 10.0
_POLL = 0.02


def mount_point() -> Path:
    """Where cgroup2 is mounted. Raises `EnvironmentProblem` if it is not."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, filesystem = line.partition(" - ")
        if filesystem.startswith("cgroup2 "):
            return Path(fields.split()[4])
    raise EnvironmentProblem(
        "cgroup2 is not mounted, and the eBPF hooks are attached to cgroups of its kind",
        hint="mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
    )


def instance_cgroup(instance: Instance) -> Path:
    """The directory of the instance's cgroup."""
    return mount_point() / instance.cgroup


def pod_cgroup(instance: Instance, pod: str) -> Path:
    """The directory of a pod's cgroup."""
    return instance_cgroup(instance) / "pods" / pod


def make_pod_cgroup(instance: Instance, pod: str) -> Path:
    """Make a pod's cgroup with its two children and return it."""
    cgroup = pod_cgroup(instance, pod)
    for child in (APPLICATION, GATEWAY):
        (cgroup / child).mkdir(parents=True)
    return cgroup


def gateway_cgroups(pod_cgroup: Path) -> list[Path]:
    """Cgroups of a pod's gateways: there are several while one takes over from another."""
    return sorted(pod_cgroup.glob(f"{GATEWAY}*/"))


def free_gateway_cgroup(pod_cgroup: Path, generation: int) -> Path:
    """A cgroup for this generation, made if those that there are have processes."""
    cgroup = pod_cgroup / GATEWAY
    if members(cgroup):
        cgroup = pod_cgroup / f"{GATEWAY}-{generation}"
    cgroup.mkdir(exist_ok=True)
    return cgroup


def members(cgroup: Path) -> list[int]:
    """Process ids in this cgroup itself; none if it does not exist."""
    try:
        return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []


def cgroup_of(pid: int) -> Path | None:
    """The directory of the cgroup2 cgroup that a process is in; None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("0::/"):
            return mount_point() / line.removeprefix("0::/")
    return None


def kill_and_remove(cgroup: Path) -> None:
    """Kill every process below `cgroup` and remove it; nothing happens if it does not exist.

    Raises `LocalModeError` when processes do not die in time.
    """
    deadline = time.monotonic() + _KILL_WITHIN
    while cgroup.exists():
        # All at once, so that nothing can fork away; kernels before 5.14 have no such file.
        with contextlib.suppress(OSError):
            (cgroup / "cgroup.kill").write_text("1")
        for directory in _tree(cgroup):
            for pid in members(directory):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                directory.rmdir()
        if not cgroup.exists():
            return
        if time.monotonic() > deadline:
            raise LocalModeError(f"processes in {cgroup} do not die", hint=f"look at {cgroup}/**/cgroup.procs")
        time.sleep(_POLL)


def _tree(cgroup: Path) -> list[Path]:
    """The cgroup and all below it, children before parents."""
    return [Path(directory) for directory, _, _ in os.walk(cgroup, topdown=False)]
