"""Two enrolled pods that talk all the time, and what is seen of it: both accounts and the wire between them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hostile.length import amount
from hostile.soak.accounting import Account, Record, account
from kube_gateway.local import cgroups, network
from kube_gateway.model.ports import TLS_TUNNEL_PORT
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.packets import parse_frame
from kube_gateway.observe.pcap import read_pcap
from pods import kill_processes

PORT = 9100
NAMES = ("left", "right")
_TALKER = str(Path(__file__).with_name("talker.py"))
_TOLD_WITHIN = 90.0
# Also between processes: a number names one connection of the whole run.
_seeds = itertools.count(os.getpid() << 8 & 0xFFFFFF)


class Conversation:
    """Pods `left` and `right`, each with a talker."""

    def __init__(self, pods, scratch: Path) -> None:
        self.pods, self._scratch = pods, scratch

    def start(self, **settings) -> None:
        """Make the pods and enrol them."""
        for name in NAMES:
            self.pods.run(name, sys.executable, "-u", _TALKER, str(PORT), str(self._socket(name)))
            self.pods.wait_log(name, "ready", container="app")
        for name in NAMES:
            self.pods.annotate(name, **(settings or {"encrypt": "true"}))

    def tell(self, name, do, **job):
        """Have a talker do something, and return its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TOLD_WITHIN)
            connection.connect(str(self._socket(name)))
            connection.sendall(json.dumps({"do": do, **job}).encode() + b"\n")
            with connection.makefile("rb") as answer:
                return json.loads(answer.read())

    def records(self, name, do) -> list[Record]:
        """Its account as client (`stop`) or as server (`served`)."""
        return msgspec.convert(self.tell(name, do), list[Record])

    def processes(self, name) -> dict[str, int]:
        """Process ids of a pod's newest gateway, `supervisor` and `worker`, wherever it is after hand-overs."""
        generation = f"KUBE_GATEWAY_GENERATION={self.pods.pod(name).generation}".encode()
        for cgroup in cgroups.gateway_cgroups(cgroups.pod_cgroup(self.pods.instance, name)):
            found = self.pods.gateway_processes(name, cgroup.name)
            if "supervisor" in found and generation in _environment(found["supervisor"]):
                return found
        raise AssertionError(f"{name} has no gateway\n{self.pods.log(name)}")

    def kill(self, name, *parts) -> None:
        """SIGKILL for parts of a pod's newest gateway, the whole of it if none is named. Returns when they have gone."""
        processes = self.processes(name)
        kill_processes([processes[part] for part in sorted(processes) if not parts or part in parts])

    def _socket(self, name) -> Path:
        return self._scratch / f"{name}.sock"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a load: the account, and the server ports that carried payload across the bridge, with how much."""

    account: Account
    ports: dict[int, int]
    seconds: float


class Load:
    """Connections in both directions between two moments; `seen` is there afterwards. Rates are for each direction."""

    seen: Seen

    def __init__(self, talk: Conversation, *, short_per_second=12, pace=150_000, long=3, idle=8) -> None:
        self._talk = talk
        self._job = {"short_per_second": short_per_second, "pace": pace, "long": long, "idle": idle}

    def __enter__(self) -> Load:
        self._stack = contextlib.ExitStack()
        self._path = self._talk._scratch / f"{time.monotonic_ns()}.pcap"
        self._capture = self._stack.enter_context(
            Capture.start(
                interface=network.interface_of(self._talk.pods.record("left").number),
                output=self._path,
                namespace=network.namespace_path(self._talk.pods.instance.namespace),
            )
        )
        self._began = time.monotonic()
        for name, peer in itertools.permutations(NAMES):
            to = list(self._talk.pods.record(peer).pod.addresses)
            self._talk.tell(name, "start", to=to, seed=next(_seeds), **self._job)
        self.run_for(1.0)
        return self

    def run_for(self, seconds: float) -> None:
        """Let it run."""
        time.sleep(seconds)

    def __exit__(self, kind, *_) -> None:
        with self._stack:
            seconds = time.monotonic() - self._began
            dialled = [record for name in NAMES for record in self._talk.records(name, "stop")]
            served = [record for name in NAMES for record in self._talk.records(name, "served")]
            time.sleep(0.3)
            dropped = self._capture.stop().dropped
        if kind is None:
            assert dropped == 0
            self.seen = Seen(account=account(dialled, served), ports=_payload(self._path), seconds=seconds)
        self._path.unlink()


def _payload(path: Path) -> dict[int, int]:
    """Bytes of payload by server port, frame by frame, as a long capture does not fit into memory."""
    found = Counter[int]()
    for frame in read_pcap(path):
        segment = parse_frame(frame.data)
        if segment is not None and segment.payload:
            ports = segment.source_port, segment.destination_port
            found[next((port for port in ports if port in (PORT, TLS_TUNNEL_PORT)), min(ports))] += len(segment.payload)
    return dict(found)


def together(seen: Sequence[Seen]) -> Seen:
    """What came of several loads, one after the other."""
    ports = Counter[int]()
    for one in seen:
        ports.update(one.ports)
    connections = itertools.chain.from_iterable(one.account.connections for one in seen)
    defects = itertools.chain.from_iterable(one.account.defects for one in seen)
    whole = Account(connections=tuple(connections), defects=tuple(defects))
    return Seen(account=whole, ports=dict(ports), seconds=sum(one.seconds for one in seen))


def _environment(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def long_form(short: float, full: float) -> float:
    """Seconds that a fault lasts."""
    return amount(full=full, short=short)
