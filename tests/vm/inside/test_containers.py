"""A gateway in a container that is not privileged: three capabilities, the default seccomp profile, its own cgroup
namespace. It finds its pod's cgroup, puts the hooks there, replaces those of a dead predecessor and takes them away."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from hooks import hook_programs as programs
from kube_gateway._native import has_hooks
from kube_gateway.identity.authority import create_authority
from kube_gateway.observe.capture import Capture
from kube_gateway.observe.proof import Evidence, examine
from vm.inside.containers import default_profile, root_for_containers
from vm.inside.pods_of_containers import BRIDGE, CAPABILITIES, MARKER, PORT, PodOfContainers

HOOKS = 10
IPV4, IPV6 = 0, 1
VIEWS = {"a": "shared process namespace", "b": "process namespace of its own"}

# Prints what the kernel answers to what the profile is there to forbid, and to what the capabilities allow.
PROBE = """
import ctypes, errno, json
libc = ctypes.CDLL(None, use_errno=True)
def answer(number, *arguments):
    result = libc.syscall(number, *arguments)
    return "done" if result >= 0 else errno.errorcode[ctypes.get_errno()]
print(json.dumps({
    "unshare": answer(272, 0x10000000),
    "mount": answer(165, b"none", b"/dev", b"tmpfs", 0, None),
    "clone3": answer(435, None, 0),
    "clone into a user namespace": answer(56, 0x10000000 | 17, None, None, None, None),
    "open_by_handle_at": answer(304, -1, None, 0),
    "bpf": answer(321, -1, None, 0),
}))
"""


class Wire:
    """What was on the wire between the pods, after the block of `watched`."""

    evidence: Evidence

    @property
    def readable(self) -> bool:
        return bool(self.evidence.sightings)

    @property
    def ports(self) -> dict[int, str]:
        return {port.port: port.traffic for port in self.evidence.ports if port.payload_bytes}


@contextmanager
def watched(tmp_path: Path):
    wire, file = Wire(), tmp_path / "wire.pcap"
    with Capture.start(interface="a", output=file) as capture:
        yield wire
        dropped = capture.stop().dropped
    wire.evidence = examine(file, markers={"marker": MARKER.encode()}, dropped=dropped)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("containers")


@pytest.fixture(scope="module")
def pods(scratch):
    """Pods `a` and `b`, without gateways."""
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
    authority = create_authority(scratch / "authority")
    made: dict[str, PodOfContainers] = {}
    with root_for_containers(scratch):
        try:
            for number, name in enumerate(("a", "b"), start=2):
                made[name] = PodOfContainers(name, number, authority=authority, scratch=scratch)
            yield made
        finally:
            for log in sorted(scratch.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-4000:]}")
            for pod in made.values():
                pod.remove()
            subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


@pytest.fixture(scope="module")
def gateways(pods):
    """A strict one that sees its application's processes, and a permissive one that does not."""
    return {"a": pods["a"].ready_gateway("strict", shared=True), "b": pods["b"].ready_gateway()}


def tunnelled(pods, tmp_path: Path, *, family: int = IPV4) -> None:
    """From `a` to `b`: it arrives, each sees the other's true address, and the wire shows TLS alone."""
    with watched(tmp_path) as wire:
        seen = pods["a"].talk(pods["b"], family=family)
    assert isinstance(seen, dict), seen
    (a, b) = (pods[name].pod.addresses[family] for name in ("a", "b"))
    assert (seen["peer"], seen["own"][0], seen["echo"]) == ([b, PORT], a, MARKER)
    # The server listens on IPv6 and sees IPv4 as mapped addresses.
    assert [seen["server"][side][0].removeprefix("::ffff:") for side in ("own", "peer")] == [b, a]
    assert not wire.readable
    assert wire.ports == {18443: "tls"}


def test_without_gateways_the_wire_is_readable(pods, tmp_path):
    with watched(tmp_path) as wire:
        assert isinstance(pods["a"].talk(pods["b"]), dict)
    assert wire.readable
    assert wire.ports == {PORT: "plain"}


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


def test_the_container_is_confined(gateways):
    """That this file tests what it says: three capabilities, a filter, no way to more, and the cgroup is the root."""
    status = status_of(gateways["a"].pid)
    # Bits 2, 12 and 39 of linux/capability.h.
    three = f"{1 << 2 | 1 << 12 | 1 << 39:016x}"
    assert (status["CapEff"], status["CapPrm"], status["CapBnd"]) == (three, three, three)
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
    assert gateways["a"].exec("cat", "/proc/self/cgroup").stdout == "0::/\n"
    assert gateways["a"].exec("cat", "/proc/1/cgroup").stdout == "0::/../a-app\n"
    assert gateways["a"].exec("touch", "/x").returncode != 0
    done = gateways["a"].exec(sys.executable, "-c", PROBE)
    assert json.loads(done.stdout) == {
        "unshare": "EPERM",
        "mount": "EPERM",
        "clone3": "ENOSYS",
        "clone into a user namespace": "EPERM",
        # Not refused, but wrong: they reached the kernel.
        "open_by_handle_at": "EFAULT",
        "bpf": "EINVAL",
    }


def test_the_worker_has_no_capability(gateways):
    """Without CAP_SETUID it stays root, but one that may do nothing."""
    pids = {int(pid) for pid in (gateways["a"].cgroup / "cgroup.procs").read_text().split()}
    (worker,) = pids - {gateways["a"].pid}
    status = status_of(worker)
    assert (status["CapEff"], status["CapPrm"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")


@pytest.mark.parametrize("name", VIEWS, ids=VIEWS.values())
def test_the_hooks_are_on_the_cgroup_of_the_pod(pods, gateways, name):
    assert "the pod's cgroup: by its id" in gateways[name].log
    assert pods[name].hooks() == HOOKS
    inner = [gateways[name].cgroup, pods[name].application.cgroup]
    outer = [pods[name].cgroup.parent, pods[name].cgroup.parent.parent]
    assert [has_hooks(str(cgroup)) for cgroup in inner + outer] == [0, 0, 0, 0]


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_from_pod_to_pod_it_is_encrypted(pods, gateways, tmp_path, family):
    tunnelled(pods, tmp_path, family=family)


def knock(pods, *, family: int = IPV4) -> str:
    """What comes of a connection in clear to `a`, the strict one."""
    order = (sys.executable, "-c", programs.CONNECT, pods["a"].pod.addresses[family], str(PORT), "5")
    line = ["nsenter", f"--net={pods['b'].network}", "--", *order]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.split()[0]


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_nobody_gets_into_a_strict_pod_in_clear(pods, gateways, family):
    assert knock(pods, family=family) == "ConnectionRefusedError"
    gateways["a"].wait_log(f"refused {pods['b'].pod.addresses[family]} to port {PORT} in clear")


def test_the_hooks_of_a_dead_gateway_are_replaced(pods, gateways, tmp_path):
    assert gateways["a"].signal("KILL") == 137
    assert pods["a"].hooks() == HOOKS
    assert "ConnectionRefusedError" in pods["a"].talk(pods["b"])
    assert knock(pods) == knock(pods, family=IPV6) == "TimeoutError"
    pods["a"].ready_gateway("strict", shared=True)
    assert pods["a"].hooks() == HOOKS
    tunnelled(pods, tmp_path)


def test_a_pod_that_ends_is_encrypted_to_its_end(pods, gateways):
    """Its gateway is told to end with it, and leaves the hooks where they are: they go with the pod's cgroup."""
    for container in pods["b"].containers[1:]:
        container.remove()
    gateway = pods["b"].ready_gateway()
    assert gateway.signal("TERM") == 0
    assert pods["b"].hooks() == HOOKS


def test_a_gateway_that_leaves_takes_its_hooks_away(pods, gateways, tmp_path):
    """Whether it knows those of its predecessor by an answer of theirs or, with CAP_SYS_ADMIN, by looking at them."""
    for name, more in (("a", ("CAP_SYS_ADMIN",)), ("b", ())):
        for container in pods[name].containers[1:]:
            container.remove()
        assert pods[name].hooks() == HOOKS
        gateway = pods[name].ready_gateway(capabilities=(*CAPABILITIES, *more))
        assert pods[name].hooks() == HOOKS
        assert gateway.signal("INT") == 0
        assert pods[name].hooks() == 0
    with watched(tmp_path) as wire:
        assert isinstance(pods["a"].talk(pods["b"]), dict)
    assert wire.readable


@pytest.mark.parametrize("missing", CAPABILITIES)
def test_a_missing_capability_is_named(pods, missing):
    gateway = pods["b"].start_gateway(capabilities=tuple(name for name in CAPABILITIES if name != missing))
    assert gateway.end() == 1
    error, hint = gateway.log.strip().splitlines()[-2:]
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert missing in error + hint
    assert pods["b"].hooks() == 0


def test_a_profile_without_bpf_is_named(pods):
    """As containerd before 1.6.9 has it: its profile does not know CAP_BPF."""
    gateway = pods["b"].start_gateway(profile=default_profile(["CAP_DAC_READ_SEARCH"]))
    assert gateway.end() == 1
    assert "Operation not permitted" in gateway.log
    assert "seccomp" in gateway.log.strip().splitlines()[-1]
