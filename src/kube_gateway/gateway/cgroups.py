"""Finding the pod's cgroup from inside one of its containers.

The hooks belong on the cgroup that all containers of the pod share. Where the whole tree is visible, that is a path. A
container on a node of cgroup v2 alone has a cgroup namespace, in which its own cgroup is the root: the kernel then tells
the ids of those above, and one can be opened by its id. On a node that has both versions of cgroups, the tree of
version 2 has to be mounted first, which takes a privilege more.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath

import msgspec

from kube_gateway import _native
from kube_gateway.errors import EnvironmentProblem, NeedsPrivilege

_PROC = Path("/proc")
_TREE = Path("/sys/fs/cgroup")
_MOUNT_POINT = Path("/tmp")  # noqa: S108 - covered for a moment; the root file system may be read-only
_OWN = "gateway"
_MOST_LEVELS = 3
"""From a container's cgroup up to its pod's; some runtimes put a scope around a container."""


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


def find_pod_cgroup(hooks: _native.Hooks, *, uid: str) -> PodCgroup:
    """Find the cgroup of the pod with this uid, which this container belongs to.

    Kubelets name it for the uid. A guess would not do: hooks on a cgroup in which the application is not catch nothing.
    Raises `EnvironmentProblem` when the tree can neither be seen nor mounted, or no cgroup above has that name, and
    `NativeError` when the kernel refuses.
    """
    own = cgroup_of("self")
    if own == PurePosixPath("/"):
        return _by_id(hooks, uid)
    for tree in (_TREE, _TREE / "unified"):
        if (tree / own.relative_to("/") / "cgroup.procs").exists():
            return _visible(tree, own, uid, how=f"visible at {tree}")
    return _mounted(own, uid)


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


def level_of_pod(names: Sequence[str], uid: str) -> int:
    """How many levels above a container its pod's cgroup is; `names` are those of the cgroups above it, the nearest first.

    Systemd takes no `-` within a part of a name, so kubelets write `_` there. Raises `EnvironmentProblem` if none is it.
    """
    for level, name in enumerate(names[:_MOST_LEVELS], start=1):
        if uid in name or uid.replace("-", "_") in name:
            return level
    raise EnvironmentProblem(
        f"none of the cgroups above this container is named for the pod {uid}: {', '.join(names) or 'there are none'}",
        hint="does the kubelet run with --cgroups-per-qos=false, or is the pod a virtual machine?",
    )


def _visible(tree: Path, own: PurePosixPath, uid: str, *, how: str) -> PodCgroup:
    above = [parent.name for parent in own.parents if parent.name]
    directory = tree / own.relative_to("/")
    pod = directory.parents[level_of_pod(above, uid) - 1]
    return PodCgroup(path=_held(pod), own=directory.stat().st_ino, how=how)


def _by_id(hooks: _native.Hooks, uid: str) -> PodCgroup:
    ids = hooks.ancestors(str(_TREE))
    own = _TREE.stat().st_ino
    if not ids or ids[-1] != own:
        raise EnvironmentProblem(
            f"the cgroups above this container are {ids}, and its own is {own}",
            hint="is /sys/fs/cgroup the container's own cgroup2 tree?",
        )
    above = [_name(each, parent) for parent, each in pairwise(ids[-2 - _MOST_LEVELS : -1])][::-1]
    descriptor = _open(ids[-1 - level_of_pod(above, uid)])
    return PodCgroup(path=Path(f"/proc/self/fd/{descriptor}"), own=own, how="by its id")


def _name(identifier: int, parent: int) -> str:
    """The name of the cgroup with an id, as the one above it lists it; empty if it has gone."""
    descriptor = _open(parent)
    try:
        with os.scandir(descriptor) as entries:
            return next((entry.name for entry in entries if entry.inode() == identifier), "")
    finally:
        os.close(descriptor)


def _open(identifier: int) -> int:
    try:
        return _native.open_cgroup_by_id(str(_TREE), identifier)
    except _native.NativeError as error:
        raise EnvironmentProblem(
            str(error.args[0]), hint="the container needs CAP_DAC_READ_SEARCH, and a seccomp profile that knows it"
        ) from error


def _mounted(own: PurePosixPath, uid: str) -> PodCgroup:
    try:
        _native.mount_cgroups(str(_MOUNT_POINT))
    except _native.NativeError as error:
        raise NeedsPrivilege(
            f"this node has cgroups of both versions, and {error.args[0]}",
            hint="let gateways be privileged on such nodes: kube-gateway install -- --privileged=when-needed",
        ) from error
    try:
        return _visible(_MOUNT_POINT, own, uid, how="in a tree mounted for a moment")
    finally:
        _native.unmount_cgroups(str(_MOUNT_POINT))


def _held(directory: Path) -> Path:
    """The directory, by a descriptor that outlives its mount."""
    return Path(f"/proc/self/fd/{os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)}")
