"""A thread that goes into a pod's network for a while: what it starts and connects there is the pod's."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from pathlib import Path

from kube_gateway.local.network import namespace_path

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(namespace: str):
    """Run the block in a network namespace, given by name."""
    with Path("/proc/thread-self/ns/net").open("rb") as own, Path(namespace_path(namespace)).open("rb") as wanted:
        _enter(wanted.fileno())
        try:
            yield
        finally:
            _enter(own.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
