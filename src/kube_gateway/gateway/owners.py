"""Whose a connection is: the container that made it, and a process that has it open.

The kernel lists connections with the cgroup and the inode of their socket. Names of cgroups are read from the pod's tree;
processes have to be searched, descriptor by descriptor, which is done a piece at a time: a database has ten thousands of
them. A gateway whose container has a process namespace of its own sees no process of others, and says nothing of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

_LOOK_AGAIN = 10.0
"""Seconds between two searches for what was not found: a process may be about to hand a socket to another."""

_DESCRIPTORS_AT_ONCE = 2000
_MOST_LEVELS = 3
_STARTED = 19
"""Which field of /proc/PID/stat behind the name is the time of the start, in ticks since the machine's. Source: proc(5)."""


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process that has a socket open as `descriptor`; it was started at `started`, seconds since the machine was."""

    pid: int
    name: str
    started: float
    descriptor: int

    @property
    def age(self) -> float:
        """For how many seconds it has run."""
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - self.started, 0.0)


class Owners:
    """Of the pod whose cgroup is at `pod`; `proc` is where processes are shown."""

    def __init__(self, pod: Path, *, proc: Path = Path("/proc")) -> None:
        self._pod, self._proc = pod, proc
        self._containers: dict[int, str] = {}
        self._processes: dict[int, Process] = {}
        self._search: Iterator[tuple[int, Process]] | None = None
        self._containers_read = self._searched = -_LOOK_AGAIN

    def container(self, cgroup: int) -> str:
        """The path of the cgroup with this id below the pod's, empty if it is not there."""
        now = time.monotonic()
        if cgroup and cgroup not in self._containers and now - self._containers_read >= _LOOK_AGAIN:
            self._containers_read = now
            self._containers = dict(_children(self._pod, levels=_MOST_LEVELS))
        return self._containers.get(cgroup, "")

    def process(self, inode: int) -> Process | None:
        """A process that has the socket with this inode open, if one was found."""
        return self._processes.get(inode)

    def look_for(self, inodes: Collection[int], *, leave_out: Collection[int]) -> None:
        """Search on for processes that have these sockets open; those in the cgroups `leave_out` are not looked at."""
        self._processes = {
            inode: process
            for inode in inodes
            if (process := self._processes.get(inode)) is not None and self._has_it_open(process, inode)
        }
        missing = set(inodes) - self._processes.keys()
        if not missing:
            self._search = None
            return
        now = time.monotonic()
        if self._search is None and now - self._searched >= _LOOK_AGAIN:
            self._searched = now
            self._search = self._sockets(leave_out)
        for _ in range(_DESCRIPTORS_AT_ONCE if self._search is not None else 0):
            found = next(self._search, None) if self._search is not None else None
            if found is None:
                self._search = None
                return
            if found[0] in missing:
                self._processes[found[0]] = found[1]

    def _has_it_open(self, process: Process, inode: int) -> bool:
        return _socket(f"{self._proc}/{process.pid}/fd/{process.descriptor}") == inode

    def _sockets(self, leave_out: Collection[int]) -> Iterator[tuple[int, Process]]:
        """Each descriptor of the pod's processes: the inode of its socket (0: it is none) and the process."""
        for directory in (self._pod, *(self._pod / name for _, name in _children(self._pod, levels=_MOST_LEVELS))):
            for pid in _members(directory, leave_out):
                for descriptor in self._descriptors(pid):
                    inode = _socket(f"{self._proc}/{pid}/fd/{descriptor}")
                    yield inode, self._described(pid, descriptor) if inode else _NOBODY

    def _descriptors(self, pid: int) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._proc / str(pid) / "fd")]  # noqa: PTH208 - names are all
        except OSError:
            return []  # it has ended, or may not be looked into

    def _described(self, pid: int, descriptor: int) -> Process:
        try:
            text = (self._proc / str(pid) / "stat").read_text(errors="replace")
        except OSError:
            return _NOBODY
        name, _, rest = text.partition("(")[2].rpartition(")")
        ticks = int(rest.split()[_STARTED])
        return Process(pid=pid, name=name, started=ticks / os.sysconf("SC_CLK_TCK"), descriptor=descriptor)


_NOBODY = Process(pid=0, name="", started=0.0, descriptor=0)


def _socket(descriptor: str) -> int:
    """The inode of the socket that a descriptor stands for, 0 if it is none (any more)."""
    try:
        target = os.readlink(descriptor)  # noqa: PTH115 - ten thousand at a time
    except OSError:
        return 0
    return int(target[8:-1]) if target.startswith("socket:[") else 0


def _children(directory: Path, *, levels: int) -> Iterator[tuple[int, str]]:
    """The cgroups below one: id and path from there."""
    try:
        with os.scandir(directory) as entries:
            below = [(entry.inode(), entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return  # a container has ended meanwhile
    for inode, name in below:
        yield inode, name
        if levels > 1:
            yield from ((deeper, f"{name}/{rest}") for deeper, rest in _children(directory / name, levels=levels - 1))


def _members(cgroup: Path, leave_out: Collection[int]) -> list[int]:
    """Processes in a cgroup; those of other process namespaces are shown as 0."""
    try:
        if cgroup.stat().st_ino in leave_out:
            return []
        return [pid for text in (cgroup / "cgroup.procs").read_text().split() if (pid := int(text))]
    except OSError:
        return []
