"""The older gateways of the pod that still have connections.

The hooks and the list of connections in clear have to take their sockets for the gateway's own until they are gone. A pipe
tells that: its writing end goes with the process, however that ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

_log = logging.getLogger("supervisor")


class OlderGateways:
    """The pipes of older gateways by cgroup (inode number), and one of this gateway's own. `on_gone` is called when one
    of them has ended."""

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self._pipes: dict[int, int] = {}
        self.own_pipe, self._held = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @property
    def cgroups(self) -> tuple[int, ...]:
        """Those that have not ended, the newest first."""
        return tuple(self._pipes)

    @property
    def pipes(self) -> tuple[int, ...]:
        """Reading ends, in the order of `cgroups`."""
        return tuple(self._pipes.values())

    def watch(self, pipes: dict[int, int]) -> None:
        """Watch these; the descriptors are ours from now on."""
        for cgroup, pipe in pipes.items():
            self._pipes[cgroup] = pipe
            asyncio.get_running_loop().add_reader(pipe, self._ended, cgroup)

    def _ended(self, cgroup: int) -> None:
        pipe = self._pipes.pop(cgroup)
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)
        _log.info("an older gateway has ended, %d are left", len(self._pipes))
        self._on_gone()
