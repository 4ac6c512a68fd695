"""Finding the pod's cgroup from inside one of its containers.

The hooks belong on the cgroup that all containers of the pod share. Where the whole tree is visible, that is a path. A
container on a node of cgroup v2 alone has a cgroup namespace, in which its own cgroup is the root: the kernel then tells
the ids of those above, and one can be opened by its id. On a node that has both versions of cgroups, the tree of
version 2 has to be mounted first, which takes a privilege more.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import msgspec

from kube_gateway import _native
from kube_gateway.errors import EnvironmentProblem, NeedsPrivilege

_PROC = Path("/proc")
_TREE = Path("/sys/fs/cgroup")
_MOUNT_POINT = Path("/tmp")  # noqa: S108 - covered for a moment; the root file system may be read-only
_OWN = "gateway"
_MOST_LEVELS = 2
"""Between a container's cgroup and its pod's; some runtimes put a scope around a container."""


class PodCgroup(msgspec.Struct, frozen=True, kw_only=True):
    """`path` opens the pod's cgroup, `own` is the id (inode number) of the gateway's own, below it. `how`: for the log."""

    path: Path
    own: int
    how: str


def given_cgroup(pod: Path) -> PodCgroup:
    """The cgroup that the gateway was told of; its own is a child of it, `gateway` or `gateway-...`.

    Raises `EnvironmentProblem`.
    """
    name = cgroup_of("self").name
    own = pod / (name if name.startswith(_OWN) else _OWN)
    try:
        members = (own / "cgroup.procs").read_text().split()
        inode = own.stat().st_ino
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot read the gateway's cgroup {own}: {error.strerror}", hint="is cgroup2 mounted?"
        ) from error
    if str(os.getpid()) not in members:
        raise EnvironmentProblem(
            f"this process is not in the gateway's cgroup {own}",
            hint="the gateway is started by its watcher, in a cgroup of its own",
        )
    return PodCgroup(path=pod, own=inode, how="as given")


def find_pod_cgroup(hooks: _native.Hooks) -> PodCgroup:
    """Find the cgroup of the pod that this container belongs to.

    Raises `EnvironmentProblem` when the tree can neither be seen nor mounted, `NativeError` when the kernel refuses.
    """
    own = cgroup_of("self")
    # Containers that share the process namespace of their pod's application see it as process 1.
    application = cgroup_of("1")
    if own == PurePosixPath("/"):
        return _by_id(hooks, levels=levels_up(own, application))
    for tree in (_TREE, _TREE / "unified"):
        if (tree / own.relative_to("/") / "cgroup.procs").exists():
            return _visible(tree, own, application, how=f"visible at {tree}")
    return _mounted(own, application)


def cgroup_of(process: str) -> PurePosixPath:
    """The cgroup (version 2) of a process as this process's cgroup namespace names it. Source: cgroups(7)."""
    try:
        lines = (_PROC / process / "cgroup").read_text().splitlines()
    except OSError as error:
        raise EnvironmentProblem(f"cannot read the cgroup of process {process}: {error.strerror}") from error
    for line in lines:
        if line.startswith("0::"):
            return PurePosixPath(line.removeprefix("0::"))
    raise EnvironmentProblem("this kernel has no cgroup2 tree", hint="the gateway needs Linux 5.10 with cgroup2")


def levels_up(own: PurePosixPath, application: PurePosixPath) -> int:
    """How many levels the pod's cgroup is above ours: as many as lead to what the application is in as well.

    The application's path begins with as many `..` where ours is the root. Without an application in sight, or with one
    that is nowhere near, the pod is one level up: so the runtimes do it that put nothing around a container.
    """
    if own == PurePosixPath("/"):
        levels = sum(part == ".." for part in application.parts)
    else:
        common = os.path.commonpath([own, application])
        levels = len(own.relative_to(common).parts)
    return levels if 1 <= levels <= _MOST_LEVELS else 1


def _visible(tree: Path, own: PurePosixPath, application: PurePosixPath, *, how: str) -> PodCgroup:
    directory = tree / own.relative_to("/")
    pod = directory.parents[levels_up(own, application) - 1]
    if pod == tree:
        raise EnvironmentProblem(
            f"the gateway's cgroup {own} is not in a pod's", hint="the gateway is started by its watcher, in a pod"
        )
    return PodCgroup(path=_held(pod), own=directory.stat().st_ino, how=how)


def _by_id(hooks: _native.Hooks, *, levels: int) -> PodCgroup:
    ids = hooks.ancestors(str(_TREE))
    own = _TREE.stat().st_ino
    if len(ids) < levels + 2 or ids[-1] != own:
        raise EnvironmentProblem(
            f"the cgroups above this container are {ids}, and its own is {own}",
            hint="is /sys/fs/cgroup the container's own cgroup2 tree?",
        )
    try:
        descriptor = _native.open_cgroup_by_id(str(_TREE), ids[-1 - levels])
    except _native.NativeError as error:
        raise EnvironmentProblem(
            str(error.args[0]), hint="the container needs CAP_DAC_READ_SEARCH, and a seccomp profile that knows it"
        ) from error
    return PodCgroup(path=Path(f"/proc/self/fd/{descriptor}"), own=own, how="by its id")


def _mounted(own: PurePosixPath, application: PurePosixPath) -> PodCgroup:
    try:
        _native.mount_cgroups(str(_MOUNT_POINT))
    except _native.NativeError as error:
        raise NeedsPrivilege(
            f"this node has cgroups of both versions, and {error.args[0]}",
            hint="let gateways be privileged on such nodes: kube-gateway install -- --privileged=when-needed",
        ) from error
    try:
        return _visible(_MOUNT_POINT, own, application, how="in a tree mounted for a moment")
    finally:
        _native.unmount_cgroups(str(_MOUNT_POINT))


def _held(directory: Path) -> Path:
    """The directory, by a descriptor that outlives its mount."""
    return Path(f"/proc/self/fd/{os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}")
