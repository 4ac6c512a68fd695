"""Containers as containerd makes them for a pod on a node of cgroup v2 alone, run by runc.

What kubelet and containerd ask of runc for a container that is not privileged: capabilities dropped but those that are
named, the default seccomp profile for these, no_new_privs, a cgroup namespace of its own, a root and cgroups that are
read-only. The root is this machine's, so that the product is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

# An emulated processor is 10 to 15 times slower than a real one.
PATIENCE = 60.0
PROJECT = Path(__file__).resolve().parents[3]
CGROUPS = Path("/sys/fs/cgroup")

# The syscalls that containerd's profile allows by capability, as far as the gateway has them; CAP_NET_ADMIN allows none.
# `seccomp.json` is what containerd 2.4.2 (contrib/seccomp) makes for x86-64 and no capability, to the byte; 1.6.20 and
# 1.7.35 add the same two calls for the same two capabilities.
_BY_CAPABILITY = {"CAP_BPF": ["bpf"], "CAP_DAC_READ_SEARCH": ["open_by_handle_at"]}
_MASKED = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_RUNC = ("runc", "--root", "/run/runc")


def default_profile(capabilities: Sequence[str]) -> dict:
    """The seccomp profile `RuntimeDefault` for a container with these capabilities."""
    profile = json.loads((PROJECT / "tests/vm/seccomp.json").read_text())
    for capability in capabilities:
        if names := _BY_CAPABILITY.get(capability):
            profile["syscalls"].append({"names": names, "action": "SCMP_ACT_ALLOW"})
    return profile


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between containers. `cgroup` is a path below the root of the tree, `network` the file of a namespace,
    `processes` that of a process namespace to join. `profile` None is the default profile for the capabilities."""

    name: str
    command: tuple[str, ...]
    cgroup: str
    network: Path
    processes: Path | None = None
    capabilities: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    profile: dict | None = None

    def configuration(self, root: Path) -> dict:
        """For runc. Source: the OCI runtime specification, and what `ctr container info` of containerd shows."""
        sets = ("bounding", "effective", "permitted")
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME", "PYTHONPATH") if name in os.environ}
        kinds = ("mount", "ipc", "uts", "cgroup") if self.processes else ("mount", "ipc", "uts", "cgroup", "pid")
        namespaces = [{"type": kind} for kind in kinds] + [{"type": "network", "path": str(self.network)}]
        if self.processes:
            namespaces.append({"type": "pid", "path": str(self.processes)})
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": list(self.command),
                "cwd": "/",
                "env": [f"{name}={value}" for name, value in {**kept, **self.environment}.items()],
                "capabilities": {kind: list(self.capabilities) for kind in sets},
                "noNewPrivileges": True,
            },
            "root": {"path": str(root), "readonly": True},
            "mounts": _mounts(),
            "linux": {
                "cgroupsPath": self.cgroup,
                "namespaces": namespaces,
                "seccomp": self.profile or default_profile(self.capabilities),
                "maskedPaths": ["/sys/firmware", *(f"/proc/{name}" for name in _MASKED)],
                "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
                "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            },
        }


def _mounts() -> list[dict]:
    closed = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": closed},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*closed, "mode=1777", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*closed, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*closed, "relatime", "ro"]},
        # The project is a mount of its own in this machine.
        {"destination": str(PROJECT), "type": "bind", "source": str(PROJECT), "options": ["rbind", "ro"]},
    ]


class Container:
    """A running container; its output is in `log`."""

    def __init__(self, description: Description, *, scratch: Path) -> None:
        self.name = description.name
        self.cgroup = CGROUPS / description.cgroup.lstrip("/")
        self.log_file = scratch / f"{self.name}.log"
        bundle = scratch / self.name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(description.configuration(scratch / "root")))
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*_RUNC, "run", "--bundle", str(bundle), self.name], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Of its first process, as this machine counts."""
        state = subprocess.run([*_RUNC, "state", self.name], capture_output=True, text=True, check=True).stdout
        return json.loads(state)["pid"]

    def wait_log(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.log:
            assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"{text!r} is not in the log of {self.name}:\n{self.log}"
            time.sleep(0.1)

    def exec(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, with what the container may do."""
        line = [*_RUNC, "exec", self.name, *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def signal(self, name: str) -> int:
        """Send a signal to the first process and return the exit status that the container ends with."""
        subprocess.run([*_RUNC, "kill", self.name, name], check=True, capture_output=True)
        return self.end()

    def end(self) -> int:
        """Wait for the end and return the exit status."""
        return self.process.wait(timeout=PATIENCE)

    def remove(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            subprocess.run([*_RUNC, "kill", self.name, "KILL"], check=False, capture_output=True)
            self.process.wait(timeout=PATIENCE)
        subprocess.run([*_RUNC, "delete", "--force", self.name], check=False, capture_output=True)


@contextlib.contextmanager
def root_for_containers(scratch: Path) -> Iterator[None]:
    """This machine's root, without what is mounted in it, at `scratch/root`."""
    root = scratch / "root"
    root.mkdir()
    subprocess.run(["mount", "--bind", "/", str(root)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(root)], check=True)
