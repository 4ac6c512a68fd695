"""Local mode by its command line: in clear, encrypted, strict, left again, on this kernel and its cgroups."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datapath import scripts
from kube_gateway._native import has_hooks
from kube_gateway.local.cgroups import pod_cgroup
from kube_gateway.local.instance import Instance

INSTANCE = Instance("vm")
PROGRAM = Path(sys.executable).with_name("kube-gateway")
PORT = 9000
PODS = ("a", "b")
IPV4, IPV6 = 0, 1
# An emulated processor is 10 to 15 times slower than a real one.
PATIENCE = 120.0

CLIENT = scripts.client(f"talk(socket.create_connection((sys.argv[1], {PORT}), timeout=60))")


def kube_gateway(*arguments: str) -> subprocess.CompletedProcess[str]:
    began = time.monotonic()
    done = subprocess.run(
        [str(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE + 10,
        check=False,
        env={**os.environ, "KUBE_GATEWAY_INSTANCE": INSTANCE.name},
    )
    # Shown by pytest when the test fails.
    print(f"kube-gateway {' '.join(arguments)}: {done.returncode}, {time.monotonic() - began:.1f} s")
    print(done.stdout, done.stderr, sep="")
    return done


def annotate(pod: str, change: str, *, gateway: str, encryption: str) -> None:
    done = kube_gateway("local", "annotate", pod, change, "--wait", str(PATIENCE))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"{pod}: gateway {gateway}, encryption {encryption}\n"
    # What a gateway knows of a peer in clear is forgotten after 250 ms.
    time.sleep(0.5)


def pods() -> dict[str, dict]:
    done = kube_gateway("local", "pods", "--output", "json")
    assert done.returncode == 0
    return {pod["name"]: pod for pod in json.loads(done.stdout)}


def verify(*options: str) -> tuple[int, dict]:
    done = kube_gateway("verify", "a", "b", "--output", "json", *options)
    return done.returncode, json.loads(done.stdout)


def hooks(pod: str) -> int:
    return has_hooks(str(pod_cgroup(INSTANCE, pod)))


@pytest.fixture(scope="module", autouse=True)
def two_pods():
    """Pods `a` and `b` with a server each; in the end `down` has to leave nothing."""
    try:
        done = kube_gateway("local", "up")
        assert (done.returncode, done.stderr) == (0, "local mode 'vm' is up\n")
        for pod in PODS:
            done = kube_gateway("local", "run", pod, "--", sys.executable, "-u", "-c", scripts.server(PORT))
            assert done.returncode == 0
        yield
        for log in sorted(INSTANCE.directory.rglob("*.log")):
            print(f"--- {log}\n{log.read_text(errors='replace')[-4000:]}")
    finally:
        done = kube_gateway("local", "down")
    assert (done.returncode, done.stderr) == (0, "local mode 'vm' is down, nothing is left of it\n")
    assert not list(Path("/sys/fs/cgroup").glob("kube-gateway-*"))
    assert not list(Path("/run/netns").glob("*"))


@pytest.fixture(scope="module")
def enrolled(two_pods):
    """Both pods encrypt."""
    for pod in PODS:
        annotate(pod, "encrypt=true", gateway="ready", encryption="permissive")


def test_before_enrolment_the_wire_is_readable():
    status, found = verify()
    assert status == 1
    assert (found["seen_in_clear"], found["answered"]) == (True, True)
    assert hooks("a") == hooks("b") == 0


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_once_enrolled_it_is_encrypted(enrolled, family):
    status, found = verify(*(["--ipv6"] if family == IPV6 else []))
    assert status == 0
    assert (found["encrypted"], found["answered"], found["seen_in_clear"]) == (True, True, False)
    assert [(port["port"], port["traffic"]) for port in found["ports"]] == [(18443, "tls")]
    assert found["server_spiffe_id"] == "spiffe://cluster.local/ns/default/sa/default"
    assert found["key_exchange"] == "X25519MLKEM768"


@pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])
def test_both_ends_see_whom_they_talk_to(enrolled, family):
    (a, b) = (pods()[pod]["addresses"][family] for pod in PODS)
    done = kube_gateway("local", "exec", "a", "--", sys.executable, "-c", CLIENT, b)
    assert done.returncode == 0
    seen = json.loads(done.stdout)
    assert (seen["peer"], seen["own"][0], seen["echo"]) == ([b, PORT], a, "hello")
    # The server listens on IPv6 and sees IPv4 as mapped addresses.
    assert [seen["server"][side][0].removeprefix("::ffff:") for side in ("own", "peer")] == [b, a]


def test_a_strict_pod_speaks_to_enrolled_pods_only(enrolled):
    annotate("a", "encrypt=strict", gateway="ready", encryption="strict")
    assert verify()[0] == 0
    annotate("b", "encrypt-", gateway="none", encryption="off")
    status, found = verify()
    assert status == 1
    assert (found["arrived"], found["seen_in_clear"]) == (False, False)
    # Loopback is the pod's own.
    done = kube_gateway("local", "exec", "a", "--", sys.executable, "-c", CLIENT, "127.0.0.1")
    assert done.returncode == 0


def test_after_leaving_it_is_as_before(enrolled):
    for pod in PODS:
        annotate(pod, "encrypt-", gateway="none", encryption="off")
        assert hooks(pod) == 0
    status, found = verify()
    assert status == 1
    assert (found["seen_in_clear"], found["answered"]) == (True, True)
