"""Floods at the tunnel port: what stands is not harmed, who is honest gets in, and memory stays bounded.

Attacker, victim and measurement share the machine, so latencies are compared with those before the flood, generously: the
figures say what they were.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from attacks.test_hostile_peers import certificate
from datapath import scripts
from hostile.length import amount
from kube_gateway.identity.authority import load_authority
from kube_gateway.local.launch import in_namespace

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
PORT = 9000
HERE = Path(__file__).parent
HANDSHAKES = (
    "A flood of unfinished handshakes, from one source or many, keeps no honest peer out, and memory stays bounded"
)
SESSIONS = "A certified peer that opens tunnels and stalls in each harms no other connection, and memory stays bounded"
SLOWEST_MS = 2000.0
MEBIBYTE = 1024 * 1024
MANY = [f"10.89.0.{number}" for number in range(200, 220)]


@pytest.fixture(scope="module")
def pods(module_instance):
    """A victim with a server, an enrolled friend, and an attacker with a valid certificate and many addresses."""
    module_instance.run("victim", sys.executable, "-u", "-c", scripts.server(PORT))
    for name in ("friend", "attacker", "honest"):
        module_instance.run(name, "sleep", "3600")
    module_instance.annotate("victim", encrypt="true")
    module_instance.annotate("friend", encrypt="true")
    for address in MANY:
        module_instance.in_network("attacker", "ip", "addr", "add", f"{address}/24", "dev", "eth0")
    return module_instance


def certified(pods, name: str) -> dict[str, str]:
    return certificate(load_authority(pods.instance.authority), addresses=pods.pod(name).addresses)


def worker(pods) -> int:
    return pods.gateway_processes("victim")["worker"]


def memory(pods) -> float:
    """MiB of the victim's worker, its part of what is shared (PSS)."""
    text = Path(f"/proc/{worker(pods)}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def script(pods, pod: str, name: str) -> subprocess.Popen[str]:
    line = in_namespace(pods.instance.pod_namespace(pod), [sys.executable, "-m", f"hostile.{name}"])
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)


@contextmanager
def flooded(pods, **order):
    """The flood; the value has what became of it, after the block."""
    attacker = pods.pod("attacker").addresses[0]
    told = {"to": pods.address("victim"), "port": PORT, "sources": [attacker], **order}
    process = script(pods, "attacker", "flood")
    outcome: dict[str, int] = {}
    try:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield outcome
        outcome |= json.loads(process.communicate(timeout=60)[0])
    finally:
        process.kill()
        process.communicate()


class Health:
    """Latencies of honest connections, in milliseconds."""

    def __init__(self, pods, seconds: float) -> None:
        told = {"to": pods.address("victim"), "port": PORT, "seconds": seconds}
        line = [sys.executable, "-m", "hostile.healthy"]
        standing = pods.start("friend", *line, stdin=subprocess.PIPE, cwd=HERE.parent)
        tunnels = script(pods, "honest", "healthy")
        source = {"source": pods.pod("honest").addresses[0], **certified(pods, "honest")}
        parts = [standing, tunnels]
        for process, order in ((standing, told), (tunnels, told | source)):
            process.stdin.write(json.dumps(order))
            process.stdin.close()
        texts = [process.stdout.read() for process in parts]
        for process in parts:
            assert process.wait(timeout=60) == 0
        parsed = [json.loads(text) for text in texts]
        self.failed = [error for part in parsed for error in part["failed"]]
        self.took = {kind: parsed[kind == "tunnel"]["took"][kind] for kind in ("echo", "connect", "tunnel")}

    def p99(self, kind: str) -> float:
        ordered = sorted(self.took[kind])
        return ordered[math.ceil(0.99 * len(ordered)) - 1]


def unharmed(pods, figures, claim: str, *, most_mib: float, **order) -> dict[str, int]:
    """Flood, and hold honest connections and the worker's memory against what they were before."""
    seconds = amount(full=10.0, short=3.0)
    pid = worker(pods)
    before, memory_before = Health(pods, seconds), memory(pods)
    with flooded(pods, **order) as outcome:
        under, memory_under = Health(pods, seconds), memory(pods)
    assert worker(pods) == pid
    assert before.failed == under.failed == []
    grown = memory_under - memory_before
    assert grown < most_mib, f"the worker has grown from {memory_before:.0f} to {memory_under:.0f} MiB"
    numbers: dict[str, float] = {}
    for kind in ("echo", "connect", "tunnel"):
        assert under.p99(kind) < SLOWEST_MS, kind
        numbers[f"{kind}_p99_ms_before"] = before.p99(kind)
        numbers[f"{kind}_p99_ms_under"] = under.p99(kind)
    figures(claim, connections=outcome["made"], grown_by_mib=grown, failed=0, **numbers)
    return outcome


@pytest.mark.parametrize("sources", [1, len(MANY)])
@pytest.mark.parametrize("kind", ["half", "drip"])
def test_unfinished_handshakes_keep_nobody_out(pods, figures, kind, sources):
    chosen = {"sources": MANY[:sources]}
    count = amount(full=10_000, short=1500) if kind == "half" else amount(full=2000, short=600)
    # 512 handshakes at once, each with one buffer of 16 KiB and what rustls keeps.
    outcome = unharmed(pods, figures, HANDSHAKES, most_mib=64, kind=kind, count=count, again=True, **chosen)
    assert outcome["made"] > count * 0.9
    assert outcome["standing"] <= 512 + 128
    pods.wait_counter("victim", "over_limit", 1)
    pods.wait_log("victim", "too many handshakes at once, the oldest one of")


@pytest.mark.parametrize("kind", ["idle", "open-half"])
def test_tunnels_that_say_nothing_cost_little(pods, figures, kind):
    count = amount(full=3000, short=300)
    order = certified(pods, "attacker")
    outcome = unharmed(pods, figures, SESSIONS, most_mib=16 + count * 20 / 1024, kind=kind, count=count, **order)
    assert outcome["made"] == count


def test_a_peer_that_never_reads_holds_a_bounded_part(pods, figures):
    count = amount(full=400, short=60)
    for pod in ("victim", "attacker"):
        # Small buffers of the kernel, so that it is the gateway's that fill.
        for name in ("tcp_rmem", "tcp_wmem"):
            pods.in_network(pod, "sh", "-c", f"echo 4096 16384 32768 > /proc/sys/net/ipv4/{name}")
    order = certified(pods, "attacker")
    # 128 MiB of large buffers at most, and two small ones for each stream beyond.
    most = 32 + min(count * 0.5, 128.0) + count * 2 * 17 / 1024
    outcome = unharmed(pods, figures, SESSIONS, most_mib=most, kind="greedy", count=count, **order)
    assert outcome["made"] == count
