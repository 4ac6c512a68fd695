"""Faults that are not the death of a process: the wire, the disk, descriptors, the processor. Each is undone at its end."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from kube_gateway.local import network
from kube_gateway.local.launch import in_namespace

_BAD_WIRE = str(Path(__file__).with_name("bad_wire.py"))
_BRIDGE = "pods"
_seeds = itertools.count(1)

# linux/sockios.h, linux/ethtool.h
_SIOCETHTOOL = 0x8946
_SET_TX_CHECKSUMS = 0x17


@contextlib.contextmanager
def bad_wire(pods, name, *, delay=0.01, jitter=0.005, loss=0.01, repeat=0.01, corrupt=0.005):
    """The wire of a pod is bad; the value has, afterwards, what was done to how many frames."""
    done: dict[str, int] = {}
    port = network.interface_of(pods.record(name).number)
    # Whole frames with checksums in them, as a real wire has: otherwise a corrupted one would be taken for right.
    with _frames_as_on_a_wire(pods, name):
        numbers = [next(_seeds), delay, jitter, loss, repeat, corrupt]
        command = [sys.executable, _BAD_WIRE, port, _BRIDGE, *map(str, numbers)]
        process = subprocess.Popen(
            in_namespace(pods.instance.namespace, command), stdin=-1, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout.readline() == "ready\n"
            yield done
        finally:
            output, _ = process.communicate("", timeout=30)
        assert process.returncode == 0
        done |= json.loads(output)


@contextlib.contextmanager
def _frames_as_on_a_wire(pods, name):
    _leave_checksums_to_the_device(pods, name, wanted=False)
    try:
        yield
    finally:
        _leave_checksums_to_the_device(pods, name, wanted=True)


def _leave_checksums_to_the_device(pods, name, *, wanted):
    text = f"""
import ctypes, fcntl, socket, struct
value = ctypes.create_string_buffer(struct.pack("II", {_SET_TX_CHECKSUMS}, {int(wanted)}))
with socket.socket() as s: fcntl.ioctl(s, {_SIOCETHTOOL}, struct.pack("16sP16x", b"eth0", ctypes.addressof(value)))
"""
    pods.in_network(name, sys.executable, "-c", text)


@contextlib.contextmanager
def small_disk(directory: Path, *, size: str):
    """A file system of its own below `directory`."""
    directory.mkdir(mode=0o700, parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
        directory.rmdir()


@contextlib.contextmanager
def full_disk(directory: Path):
    """Not a byte is left where the state and the logs are."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x")
    try:
        yield
    finally:
        filler.unlink()


@contextlib.contextmanager
def out_of_descriptors(pid: int, *, left: int = 0):
    """A process may open `left` more descriptors, and no others; if none, none in place of what it closes either."""
    before = _limit(pid)
    taken = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    # A descriptor is the lowest number that is free.
    free = (number for number in itertools.count() if number not in taken)
    # Not 0: poll(2) wants room for what it is given.
    _set_limit(pid, next(itertools.islice(free, left, None)) if left else 3)
    try:
        yield
    finally:
        _set_limit(pid, before)


def _limit(pid: int) -> int:
    """Soft limit of open files. Source: proc(5), /proc/PID/limits."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(int(line.split()[3]) for line in lines if line.startswith("Max open files"))


def _set_limit(pid: int, soft: int) -> None:
    # As whom the process runs: the limits of others take CAP_SYS_RESOURCE.
    owner = Path(f"/proc/{pid}").stat()
    command = ["prlimit", f"--pid={pid}", f"--nofile={soft}:"]
    subprocess.run(command, check=True, user=owner.st_uid, group=owner.st_gid, extra_groups=[])


@contextlib.contextmanager
def starved(pids, *, share: float = 0.1, period: float = 0.1):
    """Processes run for `share` of the time only, as under a quota of the processor that others have used up."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            for number, seconds in ((signal.SIGSTOP, period * (1 - share)), (signal.SIGCONT, period * share)):
                for pid in pids:
                    # Others may have ended it meanwhile.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
                time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
