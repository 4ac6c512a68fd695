"""Pods: run, look at, go into, annotate, delete; and what is said when that cannot be done."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import pytest
import remains

from kube_gateway.local.store import start_time

pytestmark = pytest.mark.root

SERVER = """
import socket
listener = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"hello")
    connection.close()
"""
CLIENT = "import socket, sys; print(socket.create_connection((sys.argv[1], 9000), 5).recv(9).decode())"


def wait_state(instance, name, state, *, seconds=10.0):
    deadline = time.monotonic() + seconds
    while (seen := instance.pod(name).state) != state:
        assert time.monotonic() < deadline, f"{name} is {seen!r}, not {state!r}"
        time.sleep(0.05)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_pods_reach_each_other(instance, cli, family):
    server = instance.run("server", sys.executable, "-u", "-c", SERVER)
    instance.run("client", "sleep", "3600")
    instance.wait_log("server", "listening", container="app")
    done = cli("exec", "client", "--", sys.executable, "-c", CLIENT, server.addresses[family])
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_run_prints_the_addresses(cli):
    done = cli("run", "one", "--", "sleep", "3600")
    assert (done.returncode, done.stdout) == (0, "one 10.89.0.2 fd89::2\n"), done.stderr


def test_options_after_the_command_are_its_own(instance, cli):
    assert cli("run", "one", "--", "sh", "-c", "echo $0 >&2; sleep 3600", "--annotation").returncode == 0
    instance.wait_log("one", "--annotation", container="app")


def test_exec_passes_input_output_and_exit_code(instance, cli):
    instance.run("one", "sleep", "3600")
    done = cli("exec", "one", "--", "sh", "-c", "cat; echo oh >&2; exit 7", input="through")
    assert (done.returncode, done.stdout, done.stderr) == (7, "through", "oh\n")


def test_exec_is_in_the_application_cgroup_and_the_namespace(instance, cli):
    instance.run("one", "sleep", "3600")
    done = cli("exec", "one", "--", "sh", "-c", "cat /proc/self/cgroup; ip -o addr show eth0")
    assert f"/kube-gateway-{instance.instance.name}/pods/one/app\n" in done.stdout
    assert "10.89.0.2/24" in done.stdout


def test_no_word_of_a_command_is_read_by_a_shell(instance, cli, tmp_path):
    instance.run("one", "sleep", "3600")
    words = [f"$(touch {tmp_path}/made)", ";", "`id`", "a  b", "", "'", '"']
    done = cli("exec", "one", "--", sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(done.stdout) == words
    assert list(tmp_path.iterdir()) == []


def test_pods_lists_them(instance, cli):
    instance.run("one", "sleep", "3600")
    listed = cli("pods").stdout.splitlines()
    for heading in ("NAME", "ADDRESS", "PIDS", "GATEWAY", "ENCRYPT", "CLEAR", "AGE"):
        assert heading in listed[0]
    assert listed[1].split()[0] == "one"
    (found,) = json.loads(cli("pods", "--output", "json").stdout)
    assert (found["name"], found["state"], found["gateway"]) == ("one", "running", "none")


def test_logs_are_what_the_command_wrote(instance, cli):
    instance.run("one", "sh", "-c", "echo out; echo err >&2; sleep 3600")
    instance.wait_log("one", "err", container="app")
    assert cli("logs", "one").stdout == "out\nerr\n"


def test_logs_of_a_gateway_that_never_was(instance, cli):
    instance.run("one", "sleep", "3600")
    done = cli("logs", "one", "-c", "kube-gateway")
    assert done.returncode == 1
    assert "has had no gateway" in done.stderr


def test_an_ended_pod_stays_listed_until_deleted(instance, cli):
    instance.run("one", "sh", "-c", "sleep 1; exit 3")
    wait_state(instance, "one", "ended (exit 3)")
    assert "ended (exit 3)" in cli("pods").stdout
    assert cli("delete", "one").returncode == 0
    assert remains.of_pod(instance, "one") == []


def test_a_gateway_leaves_a_pod_that_ended(instance):
    pod = instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    os.kill(pod.pids[0], signal.SIGTERM)
    deadline = time.monotonic() + 20
    while instance.pod("one").gateway != "none":
        assert time.monotonic() < deadline, instance.log("one")
        time.sleep(0.1)


def test_delete_kills_what_ignores_signals_and_its_children(instance, cli):
    instance.run("one", "sh", "-c", "trap '' TERM INT HUP; sleep 3600 & setsid sleep 3600 & wait")
    deadline = time.monotonic() + 10
    while len(pids := instance.pod("one").pids) < 3:
        assert time.monotonic() < deadline, pids
        time.sleep(0.05)
    assert cli("delete", "one").returncode == 0
    assert not [pid for pid in pids if start_time(pid)]
    assert remains.of_pod(instance, "one") == []


def test_a_name_can_be_used_again(instance, cli):
    first = instance.run("one", "sleep", "3600")
    assert cli("run", "one", "--", "sleep", "1").returncode == 1
    instance.client.delete("one")
    assert instance.run("one", "sleep", "3600").uid != first.uid


@pytest.mark.parametrize("name", ["A", "-a", "a-", "a_b", "a.b", "../a", "x" * 41, ""])
def test_an_impossible_name_is_refused(instance, cli, name):
    done = cli("run", "--", name, "sleep", "3600")
    assert done.returncode == 2
    assert "cannot name a pod" in done.stderr
    assert instance.client.pods() == ()


@pytest.mark.parametrize("verb", ["logs", "delete", "exec", "annotate"])
def test_a_path_is_not_a_pod(instance, cli, verb):
    more = {"exec": ["--", "true"], "annotate": ["encrypt=true"]}.get(verb, [])
    done = cli(verb, "../../ca", *more)
    assert done.returncode in {1, 2}
    assert (instance.instance.authority / "ca.key").exists()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [["no-such-program"], ["/no/such/program"], ["/etc/hostname"], ["sh", "-c", "echo why; exit 4"]]
)
def test_a_command_that_does_not_start_leaves_nothing(instance, cli, command):
    done = cli("run", "one", "--", *command)
    assert done.returncode in {1, 2}
    assert done.stderr.startswith("error: ")
    assert remains.of_pod(instance, "one") == []
    assert instance.client.pods() == ()
    instance.run("one", "sleep", "3600")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["encript=true"], "unknown annotation kube-gateway.io/encript"),
        (["encrypt=yes"], "has the value 'yes'"),
        (["exclude-ports=0"], "is not a port"),
        (["encrypt"], "neither KEY=VALUE nor KEY-"),
        (["encrypt=true", "encrypt-"], "set and removed at once"),
        (["kube-gateway.io/ktls=true"], "not supported by this version"),
    ],
)
def test_a_wrong_annotation_changes_nothing(instance, cli, change, words):
    instance.run("one", "sleep", "3600", encrypt="false")
    before = instance.pod("one").annotations
    done = cli("annotate", "one", *change)
    assert done.returncode == 2
    assert words in done.stderr
    assert instance.pod("one").annotations == before


def test_annotations_are_those_of_kubectl(instance, cli):
    instance.run("one", "sleep", "3600")
    assert cli("annotate", "one", "kube-gateway.io/encrypt=true", "other.io/key=x=y").returncode == 0
    assert instance.pod("one").annotations == {"kube-gateway.io/encrypt": "true", "other.io/key": "x=y"}
    assert instance.pod("one").gateway == "ready"
    assert cli("annotate", "one", "encrypt-", "other.io/key-").returncode == 0
    assert instance.pod("one").annotations == {}
    assert instance.pod("one").gateway == "none"


def test_a_command_that_ends_at_once_with_success_leaves_nothing(instance, cli):
    done = cli("run", "one", "--", "true")
    assert done.returncode in {1, 2}
    assert remains.of_pod(instance, "one") == []
