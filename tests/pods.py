"""Pods for tests: an instance of the local mode that is always removed, and what tests do with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import msgspec

from kube_gateway._native import has_hooks
from kube_gateway.identity.authority import create_authority
from kube_gateway.local import cgroups, lifecycle, network
from kube_gateway.local.client import LocalClient
from kube_gateway.local.instance import Instance
from kube_gateway.local.launch import in_namespace, in_pod
from kube_gateway.local.store import load_all, save, start_time
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.proof import examine

TIMEOUT = 60.0
GONE_WITHIN = 5.0


def annotations(settings: dict[str, str]) -> dict[str, str]:
    """encrypt="true" as an annotation; underscores are dashes."""
    return {f"kube-gateway.io/{key.replace('_', '-')}": value for key, value in settings.items()}


def kill_processes(pids: Iterable[int]) -> None:
    """SIGKILL, and wait until they have gone: until then they hold their sockets, and may answer once more."""
    started = {pid: start_time(pid) for pid in pids}
    for number, pid in enumerate(started):
        # Without its supervisor a worker ends by itself, perhaps before it is its turn.
        with suppress(ProcessLookupError) if number else nullcontext():
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + GONE_WITHIN
    while left := [pid for pid in started if _is_there(pid, started[pid])]:
        assert time.monotonic() < deadline, f"still there {GONE_WITHIN:g} s after SIGKILL: {left}"
        time.sleep(0.005)


def _is_there(pid: int, started: int) -> bool:
    """Whether anything of a process runs. One that is waited for by nobody has gone, too."""
    if now := start_time(pid):
        return now == started
    # Its first thread has ended; others may do so a moment later, and have its sockets until then.
    try:
        return any(start_time(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return False


class Pods:
    """One instance of the local mode."""

    def __init__(self, name: str) -> None:
        self.instance = Instance(name)
        self.client = LocalClient(name)

    def up(self, *, certificate_life: float = 3600.0) -> None:
        lifecycle.up(self.instance, certificate_life=certificate_life)

    def down(self) -> None:
        lifecycle.down(self.instance)

    def run(self, name, *command, **settings):
        return self.client.run(name, command, annotations=annotations(settings), directory=Path("/"))

    def annotate(self, name, *, remove=(), wait=TIMEOUT, **settings):
        """Change annotations and wait until they are in effect, by the peers' short memory too."""
        self.client.annotate(name, annotations(settings), remove=list(annotations(dict.fromkeys(remove, ""))))
        pod = self.client.wait_settled(name, timeout=wait)
        time.sleep(0.3)
        return pod

    def pod(self, name):
        return self.client.pod(name)

    def record(self, name):
        """What the instance remembers of a pod; asks no manager."""
        return next(record for record in load_all(self.instance) if record.name == name)

    def address(self, name, family=0) -> str:
        """A pod's IPv4 (0) or IPv6 (1) address."""
        return self.record(name).pod.addresses[family]

    def exec(self, name, *command, input=None, timeout=TIMEOUT, check=True):  # noqa: A002 - subprocess's own word
        """Run a command as the pod's application would."""
        return self._finish(in_pod(self.instance, name, command), input, timeout, check)

    def start(self, name, *command, **options):
        """Start a command as the pod's application would, and return it."""
        return subprocess.Popen(
            in_pod(self.instance, name, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def in_network(self, name, *command, timeout=TIMEOUT):
        """Run a command in the pod's network but not in its cgroup."""
        return self._finish(in_namespace(self.instance.pod_namespace(name), command), None, timeout, True)

    def in_network_with_input(self, name, text, *command, timeout=TIMEOUT):
        """The same, with something on stdin."""
        return self._finish(in_namespace(self.instance.pod_namespace(name), command), text, timeout, True)

    def _finish(self, line, text, timeout, check):
        done = subprocess.run(line, input=text, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"exit {done.returncode} of {line}\n{done.stdout}\n{done.stderr}")
        return done

    def log(self, name, container="kube-gateway") -> str:
        path = self.instance.log_of(name, container)
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_log(self, name, text, *, container="kube-gateway", timeout=20.0) -> None:
        deadline = time.monotonic() + timeout
        while text not in self.log(name, container):
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{self.log(name, container)}"
            time.sleep(0.05)

    def report(self, name):
        """The gateway's last report, once there is one."""
        deadline = time.monotonic() + 10
        while (report := self.pod(name).report) is None:
            assert time.monotonic() < deadline, f"the gateway of {name} does not report:\n{self.log(name)}"
            time.sleep(0.1)
        return report

    def counter(self, name, counter, *, fresh=False) -> int:
        """A counter of the gateway; `fresh` waits for a report that was made after this call."""
        if fresh:
            # Workers report every second.
            time.sleep(2.0)
        return self.report(name).snapshot.counters.get(counter, 0)

    def wait_counter(self, name, counter, at_least, *, timeout=15.0) -> None:
        deadline = time.monotonic() + timeout
        while (value := self.counter(name, counter)) < at_least:
            assert time.monotonic() < deadline, f"{counter} of {name} is {value}, not {at_least}"
            time.sleep(0.2)

    def counts(self, name, counter, exactly) -> None:
        """Wait until a counter that only grows is so high, and see that it stays there."""
        self.wait_counter(name, counter, exactly)
        assert self.counter(name, counter, fresh=True) == exactly

    def wait_gateway(self, name, state, *, timeout=10.0) -> None:
        """Wait until the manager has heard that the gateway is in that state."""
        deadline = time.monotonic() + timeout
        while (found := self.pod(name).gateway) != state:
            assert time.monotonic() < deadline, f"the gateway of {name} is {found}, not {state}"
            time.sleep(0.05)

    def peer(self, name, address):
        """What the gateway of `name` knows of the peer at `address`."""
        return next((peer for peer in self.report(name).snapshot.peers if peer.address == address), None)

    def wait_peer(self, name, address, state, *, timeout=10.0):
        """The same, once it is in that state."""
        deadline = time.monotonic() + timeout
        while (peer := self.peer(name, address)) is None or peer.state != state:
            assert time.monotonic() < deadline, f"{address} is {peer} to {name}, not {state}"
            time.sleep(0.1)
        return peer

    def upgrade(self, name):
        """Have a further gateway take over."""
        self.client.upgrade(name)
        return self.client.wait_settled(name, timeout=TIMEOUT)

    def gateway_processes(self, name, cgroup=cgroups.GATEWAY) -> dict[str, int]:
        """Process ids of a pod's gateway: `supervisor` and `worker`. One that takes over is in a cgroup of its own."""
        found = {}
        for pid in cgroups.members(cgroups.pod_cgroup(self.instance, name) / cgroup):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            found["worker" if "gateway.worker" in line else "supervisor"] = pid
        return found

    def hooks(self, name) -> int:
        """How many programs of ours are on the pod's cgroup."""
        return has_hooks(str(cgroups.pod_cgroup(self.instance, name)))

    def replace_authority(self, scratch: Path) -> None:
        """Give the manager another root, all at once. Gateways that hear of it trust no other from then on."""
        self.kill_manager()
        shutil.move(self.instance.authority, scratch / "old")
        create_authority(self.instance.authority)
        self.up()

    def _managers(self) -> list[int]:
        return cgroups.members(cgroups.instance_cgroup(self.instance) / "manager")

    def stop_manager(self) -> None:
        """Nobody starts a gateway again while a test looks at what its death does."""
        for pid in self._managers():
            os.kill(pid, signal.SIGSTOP)

    def continue_manager(self) -> None:
        """It goes on."""
        for pid in self._managers():
            os.kill(pid, signal.SIGCONT)

    def forget_annotations(self, name) -> None:
        """Change a pod's record behind the back of a manager that is not running."""
        save(self.instance, msgspec.structs.replace(self.record(name), annotations={}))

    def kill_manager(self) -> None:
        """SIGKILL."""
        for pid in self._managers():
            os.kill(pid, signal.SIGKILL)
        while self.client.is_up():
            time.sleep(0.02)

    def kill_gateway(self, name, part=None, *, cgroup=cgroups.GATEWAY) -> None:
        """SIGKILL for the worker, or for everything of the gateway, the supervisor first, so that it starts no other.

        Returns when what was killed has gone.
        """
        processes = self.gateway_processes(name, cgroup)
        kill_processes([processes[part] for part in ([part] if part else sorted(processes))])

    @contextmanager
    def capture(self, name):
        """Capture at a pod's port of the bridge; what was seen is in the value, after the block."""
        path = self.instance.captures / f"test-{time.monotonic_ns()}.pcap"
        bridge = network.namespace_path(self.instance.namespace)
        wire = Wire(path)
        with Capture.start(
            interface=network.interface_of(self.record(name).number), output=path, namespace=bridge
        ) as capture:
            yield wire
            # What was sent last has to reach the capture.
            time.sleep(0.3)
            wire.dropped = capture.stop().dropped


class Wire:
    """What was on the wire."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.dropped = 0

    def seen(self, marker: bytes) -> bool:
        """Whether the marker was readable. A capture with gaps is an error, not a no."""
        return bool(examine(self._path, markers={"marker": marker}, dropped=self.dropped).sightings)

    def ports(self) -> dict[int, int]:
        """Payload bytes of each server port."""
        evidence = examine(self._path, markers={}, dropped=self.dropped)
        return {port.port: port.payload_bytes for port in evidence.ports if port.payload_bytes}
