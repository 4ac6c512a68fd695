"""A manager that dies in the middle of things, and pods that do their worst."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import remains

from kube_gateway.local import cgroups, network
from kube_gateway.local.store import start_time

pytestmark = pytest.mark.root

ECHO = """
import socket, threading
listener = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    def serve(connection=connection):
        while piece := connection.recv(4096):
            connection.sendall(piece)
        connection.close()
    threading.Thread(target=serve, daemon=True).start()
"""
# Holds one connection, sends each line of standard input through it and prints what comes back.
HOLD = """
import socket, sys
with socket.create_connection((sys.argv[1], 9000), 5) as connection:
    print("connected", flush=True)
    for line in sys.stdin:
        connection.sendall(line.encode())
        print(connection.recv(4096).decode(), end="", flush=True)
"""
FORKS = """
import os, time
for _ in range(40):
    if os.fork() == 0:
        while True:
            if os.fork() == 0:
                time.sleep(0.02); os._exit(0)
            os.waitpid(-1, os.WNOHANG)
            time.sleep(0.01)
print("forking", flush=True)
time.sleep(3600)
"""


def restart_manager(instance) -> None:
    pid = remains.manager_pid(instance)
    os.kill(pid, signal.SIGKILL)
    while start_time(pid):
        time.sleep(0.01)
    instance.up()


def wait_gateway(instance, name, state, *, seconds=20.0):
    deadline = time.monotonic() + seconds
    while (seen := instance.pod(name).gateway) != state:
        assert time.monotonic() < deadline, f"{seen!r}, not {state!r}\n{instance.log(name)}"
        time.sleep(0.1)


def test_a_half_written_record_does_not_keep_the_others_from_being_adopted(instance):
    instance.run("one", "sleep", "3600")
    (instance.instance.pod_directory("one") / ".pod.json.new").write_text("{")
    restart_manager(instance)
    assert instance.pod("one").state == "running"


def test_a_gateway_may_drain_across_a_restart_of_the_manager(instance):
    server = instance.run("server", sys.executable, "-u", "-c", ECHO, encrypt="true")
    instance.run("client", "sleep", "3600", encrypt="true")
    for name in ("server", "client"):
        instance.client.wait_settled(name, timeout=20)
    instance.wait_log("server", "listening", container="app")
    holder = instance.start(
        "client", sys.executable, "-u", "-c", HOLD, server.addresses[0], stdin=subprocess.PIPE, bufsize=1
    )
    try:
        assert holder.stdout.readline() == "connected\n"
        instance.client.annotate("client", {}, remove=["kube-gateway.io/encrypt"])
        wait_gateway(instance, "client", "draining")
        restart_manager(instance)
        wait_gateway(instance, "client", "draining")
        holder.stdin.write("still here\n")
        assert holder.stdout.readline() == "still here\n"
    finally:
        holder.stdin.close()
        holder.wait(10)
    wait_gateway(instance, "client", "none")


def test_an_adopted_gateway_that_is_killed_is_replaced(instance):
    instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    restart_manager(instance)
    instance.client.wait_settled("one", timeout=20)
    instance.kill_gateway("one")
    deadline = time.monotonic() + 20
    while (seen := instance.pod("one")).generation != 2 or not seen.settled:
        assert time.monotonic() < deadline, instance.log("one")
        time.sleep(0.1)


def test_delete_ends_a_pod_that_forks_without_end(instance):
    instance.run("one", sys.executable, "-u", "-c", FORKS)
    instance.wait_log("one", "forking", container="app")
    instance.client.delete("one")
    assert remains.of_pod(instance, "one") == []
    assert remains.processes(f"/kube-gateway-{instance.instance.name}/pods/") == []


def test_the_hosts_own_network_is_not_touched(instance):
    before = sorted(name for _, name in socket.if_nameindex())
    instance.run("one", "sleep", "3600")
    assert sorted(name for _, name in socket.if_nameindex()) == before
    routes = Path("/proc/net/route").read_text()
    assert "pods" not in routes


def test_a_half_made_pod_does_not_block_its_name(instance):
    network.make_pod_network(instance.instance, "one", 2)
    cgroups.make_pod_cgroup(instance.instance, "one")
    restart_manager(instance)
    instance.run("one", "sleep", "3600")
    assert instance.pod("one").state == "running"


def test_an_ended_pod_stays_ended_after_a_restart(instance):
    instance.run("one", "sh", "-c", "sleep 1; exit 3")
    deadline = time.monotonic() + 10
    # It is shown at once, and written down right after.
    while instance.record("one").exit_code is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert instance.pod("one").state == "ended (exit 3)"
    restart_manager(instance)
    assert instance.pod("one").state == "ended (exit 3)"


def test_the_manager_answers_root_only_even_where_files_do_not_say_so(instance):
    directory, path = instance.instance.directory, instance.instance.manager_socket
    try:
        directory.chmod(0o755)
        path.chmod(0o666)
        ask = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        ask += 's.sendall(b\'{"type": "ListPods"}\\n\'); s.shutdown(socket.SHUT_WR); print(len(s.recv(99)))'
        line = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", ask, str(path)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd="/")
        assert done.stdout in {"", "0\n"}, "a user who is not root was answered"
    finally:
        directory.chmod(0o700)
        path.chmod(0o600)


def test_exec_in_an_ended_pod_says_so(instance, cli):
    instance.run("one", "sh", "-c", "sleep 1")
    deadline = time.monotonic() + 10
    while not (seen := instance.pod("one").state).startswith("ended"):
        assert time.monotonic() < deadline, seen
        time.sleep(0.05)
    done = cli("exec", "one", "--", "true")
    assert done.returncode == 1
    assert "ended" in done.stderr
