"""The pod's other containers, as their cgroups tell: whether the application still runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_POLL = 0.2
_MONITOR = "conmon"
"""CRI-O may run a monitor beside each container, in a cgroup of that name, which stays as long as its container."""
_SANDBOX = 1
"""Runtimes keep one process for the pod's namespaces; it ends after all containers."""


async def application_ended(pod: Path, *, gateways: Callable[[], Iterable[int]]) -> None:
    """Wait until nothing of the pod runs but its gateways and its sandbox.

    `pod` opens the pod's cgroup (version 2), `gateways` are the ids (inode numbers) of those of its gateways. Where a
    runtime has no process for the sandbox, the last container of an application looks like one, and is not waited for.
    Raises `OSError` if the cgroup cannot be read.
    """
    while running_beside(pod, gateways=gateways()) > _SANDBOX:
        await asyncio.sleep(_POLL)


def running_beside(pod: Path, *, gateways: Iterable[int]) -> int:
    """How many of the pod's containers run, its sandbox among them, but not its gateways.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (cgroup.events). Raises `OSError`.
    """
    ours = set(gateways)
    return sum(
        _MONITOR not in child.name and _is_populated(child) and ours.isdisjoint(_inodes(child))
        for child in _children(pod)
    )


def _children(cgroup: Path) -> list[Path]:
    with os.scandir(cgroup) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _is_populated(cgroup: Path) -> bool:
    try:
        return "populated 1" in (cgroup / "cgroup.events").read_text().splitlines()
    except OSError:
        return False  # it has just been removed


def _inodes(cgroup: Path) -> Iterator[int]:
    """Of the cgroup and those below it: some runtimes put a container's own into one more."""
    for directory, _, _ in os.walk(cgroup):
        yield Path(directory).stat().st_ino
