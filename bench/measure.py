"""One round of all rows for one candidate."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.rig import Rig

# What /proc/stat counts that is no work of this machine: idle, waiting for a disk, and what a hypervisor gave to others.
# Source: proc(5).
_IDLE, _IOWAIT, _STEAL = 3, 4, 7


class Row:
    """A figure: its name, unit, and whether more of it is better."""

    def __init__(self, key: str, title: str, unit: str, *, more_is_better: bool) -> None:
        self.key, self.title, self.unit, self.more_is_better = key, title, unit, more_is_better


ROWS = (
    Row("bulk_1_down", "bulk, 1 connection, down", "Gbit/s", more_is_better=True),
    Row("bulk_1_up", "bulk, 1 connection, up", "Gbit/s", more_is_better=True),
    Row("bulk_8_down", "bulk, 8 connections, down", "Gbit/s", more_is_better=True),
    Row("bulk_8_up", "bulk, 8 connections, up", "Gbit/s", more_is_better=True),
    Row("cpu_per_gb", "CPU for a GB, 8 connections, whole machine", "s", more_is_better=False),
    Row("pingpong_p50", "ping-pong, 1 connection, p50", "us", more_is_better=False),
    Row("pingpong_p99", "ping-pong, 1 connection, p99", "us", more_is_better=False),
    Row("pingpong_32", "ping-pong, 32 connections", "per s", more_is_better=True),
    Row("connect_16", "connect, ping-pong, close, 16 at once", "per s", more_is_better=True),
    Row("memory", "memory of a side's proxy after the run (PSS)", "MB", more_is_better=False),
)


def measure(rig: Rig, to: str, seconds: float, *, processes: Callable[[str], Sequence[int]] | None) -> dict[str, float]:
    """Run the load against `to` and return a figure for each row; `processes` names a pod's proxy, if there is one."""
    for_seconds = ("--seconds", f"{seconds:g}")
    figures: dict[str, float] = {}
    for connections in (1, 8):
        for direction in ("down", "up"):
            busy = _busy()
            options = ("--connections", str(connections), "--direction", direction, *for_seconds)
            result = rig.load("bulk", to, *options)
            figures[f"bulk_{connections}_{direction}"] = float(result["gbit_per_second"])
            if (connections, direction) == (8, "down"):
                # The load runs a fifth longer than it measures.
                moved = float(result["bytes"]) / float(result["seconds"]) * (float(result["seconds"]) + seconds / 5)
                figures["cpu_per_gb"] = (_busy() - busy) / (moved / 1e9)
    single = rig.load("pingpong", to, "--connections", "1", *for_seconds)
    figures |= {"pingpong_p50": float(single["p50_us"]), "pingpong_p99": float(single["p99_us"])}
    figures["pingpong_32"] = float(rig.load("pingpong", to, "--connections", "32", *for_seconds)["per_second"])
    connects = rig.load("connect", to, "--concurrency", "16", *for_seconds)
    if connects["errors"]:
        raise RuntimeError(f"connections failed: {connects['errors']}")
    figures["connect_16"] = float(connects["per_second"])
    if processes is not None:
        sides = [sum(map(proportional_memory, processes(pod))) for pod in ("client", "server")]
        figures["memory"] = max(sides) / 1e6
    # What was closed last should not be measured with the next candidate.
    time.sleep(0.2)
    return figures


def _busy() -> float:
    """Seconds that all CPUs together have worked since boot."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[_IDLE] - fields[_IOWAIT] - fields[_STEAL]) / os.sysconf("SC_CLK_TCK")


def proportional_memory(pid: int) -> int:
    """Bytes of a process, shared pages divided among those that share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no Pss")


def facts(other: str, environment: Path | None = None) -> dict[str, Any]:
    """What was measured on, and the version of the package that is compared with, here or in another environment."""
    information = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in information if line.startswith("model name")]
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
    return {
        "cpu": models[0] if models else "unknown",
        "cpus": len(models),
        "kernel": kernel,
        "python": platform.python_version(),
        other: _version(other, environment),
    }


def _version(package: str, environment: Path | None) -> str:
    if environment is None:
        return metadata.version(package)
    where = [str(path) for path in environment.glob("lib/python*/site-packages")]
    return next(iter(metadata.distributions(name=package, path=where))).version
