"""The manager and its gateways: generations, failures, and who may speak for a pod."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from kube_gateway.local import cgroups

pytestmark = pytest.mark.root

# Says whatever it is told to the manager and prints the answer.
IMPOSTOR = """
import socket, sys
path, line = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as connection:
    connection.settimeout(5)
    connection.connect(path)
    try:
        connection.sendall(line.encode() + b"\\n")
        print(connection.recv(65536).decode())
    except (BrokenPipeError, ConnectionResetError):
        print()
"""
LISTENER = (
    "import socket, time; s = socket.create_server(('10.89.0.2', 18443)); print('ready', flush=True); time.sleep(99)"
)


def hello(pod) -> str:
    fields = {"pod": f"default/{pod.name}", "uid": pod.uid, "generation": pod.generation, "version": "0"}
    return json.dumps({"type": "Hello", **fields})


@pytest.fixture
def pod(instance):
    instance.run("one", "sleep", "3600", encrypt="true")
    return instance.client.wait_settled("one", timeout=20)


def test_the_application_cannot_speak_for_its_gateway(instance, pod):
    control = str(instance.instance.control_socket)
    said = instance.exec("one", sys.executable, "-c", IMPOSTOR, control, hello(pod))
    assert said.stdout == "\n"
    assert instance.client.wait_settled("one", timeout=10).generation == pod.generation


def test_another_pods_gateway_cgroup_does_not_do_either(instance, pod):
    instance.run("two", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("two", timeout=20)
    cgroup = cgroups.pod_cgroup(instance.instance, "two") / cgroups.GATEWAY
    enter = ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(cgroup / "cgroup.procs")]
    control = str(instance.instance.control_socket)
    said = instance.in_network("two", *enter, sys.executable, "-c", IMPOSTOR, control, hello(pod))
    assert said.stdout == "\n"


@pytest.mark.parametrize("line", ["", "not json", "{}", '{"type": "Report"}', '{"type": "Hello", "x": 1}'])
def test_nonsense_does_not_hurt_the_manager(instance, pod, line):
    instance.exec("one", sys.executable, "-c", IMPOSTOR, str(instance.instance.control_socket), line)
    instance.exec("one", sys.executable, "-c", IMPOSTOR, str(instance.instance.manager_socket), line, check=False)
    assert instance.client.pods()


def test_the_identity_is_the_pods(instance):
    instance.client.run(
        "one", ["sleep", "3600"], annotations={"kube-gateway.io/encrypt": "true"}, service_account="payments"
    )
    view = instance.client.wait_settled("one", timeout=20)
    assert view.spiffe_id == "spiffe://cluster.local/ns/default/sa/payments"
    assert view.report.certificate_expires > time.time() + 1800


def test_a_killed_gateway_is_followed_by_the_next_generation(instance, pod):
    assert pod.generation == 1
    instance.kill_gateway("one")
    deadline = time.monotonic() + 20
    while (seen := instance.pod("one")).generation != 2 or not seen.settled:
        assert time.monotonic() < deadline, instance.log("one")
        time.sleep(0.05)
    assert "generation 2" in instance.log("one")


def test_a_supervisor_killed_alone_is_followed_too(instance, pod):
    instance.kill_gateway("one", "supervisor")
    deadline = time.monotonic() + 20
    while (seen := instance.pod("one")).generation < 2 or not seen.settled:
        assert time.monotonic() < deadline, instance.log("one")
        time.sleep(0.05)
    assert len(instance.gateway_processes("one")) == 2


def test_a_gateway_that_cannot_start_is_told_and_tried_less_and_less(instance, cli):
    instance.run("one", sys.executable, "-u", "-c", LISTENER)
    instance.wait_log("one", "ready", container="app")
    done = cli("annotate", "one", "encrypt=true", "--wait", "4")
    assert done.returncode == 1
    assert "port 18443 on 10.89.0.2 is taken" in done.stderr
    tried = instance.pod("one").generation
    assert 2 <= tried <= 6
    assert instance.pod("one").gateway in {"failed", "starting"}
    time.sleep(3)
    assert instance.pod("one").generation <= tried + 2


def test_a_gateway_comes_again_after_it_left(instance, cli, pod):
    assert cli("annotate", "one", "encrypt-").returncode == 0
    assert instance.gateway_processes("one") == {}
    assert cli("annotate", "one", "encrypt=true").returncode == 0
    assert instance.pod("one").generation == 2


def test_settings_reach_a_running_gateway(instance, cli, pod):
    assert cli("annotate", "one", "exclude-ports=9000").returncode == 0
    after = instance.pod("one")
    assert after.report.settings_revision > pod.report.settings_revision
    assert after.generation == pod.generation


def test_certificates_are_renewed(instance):
    instance.down()
    instance.up(certificate_life=6)
    instance.run("one", "sleep", "3600", encrypt="true")
    first = instance.client.wait_settled("one", timeout=20).report.certificate_expires
    deadline = time.monotonic() + 10
    while instance.report("one").certificate_expires <= first:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert instance.pod("one").generation == 1


def test_a_gateway_gets_no_secret_by_its_environment(instance, monkeypatch):
    instance.down()
    monkeypatch.setenv("TEST_SECRET", "of whoever typed up")
    instance.up()
    instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    pid = instance.gateway_processes("one")["supervisor"]
    items = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = {item.split(b"=")[0].decode() for item in items if item}
    assert "KUBE_GATEWAY_CONTROL" in names
    assert "TEST_SECRET" not in names
