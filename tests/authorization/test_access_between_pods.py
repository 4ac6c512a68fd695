"""Policies between pods of this machine: who is denied, what a change ends, and that no restart opens anything."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.root

SERVER = """
import socket, threading
def serve(connection):
    try:
        while data := connection.recv(65536):
            connection.sendall(data)
    except OSError as error:
        print(f"the server saw {type(error).__name__}\\n", end="", flush=True)
    connection.close()
def accept(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    print(f"listening {port}\\n", end="", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()
for port in (9000, 9001):
    threading.Thread(target=accept, args=(port,)).start()
"""
# Says what it sees: each second's echo, or how the connection ended.
CLIENT = """
import socket, sys, time
address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
try:
    connection = socket.create_connection((address, port), 10)
    end = time.monotonic() + seconds
    while True:
        connection.sendall(b"x" * 100)
        got = 0
        while got < 100:
            piece = connection.recv(100 - got)
            if not piece:
                print("end"); raise SystemExit
            got += len(piece)
        print("echo", flush=True)
        if time.monotonic() > end:
            break
        time.sleep(0.05)
except OSError as error:
    print(type(error).__name__, flush=True)
"""

HEAD = "apiVersion: kube-gateway.io/v1alpha1\nkind: GatewayPolicy\n"
ONLY_WEB = HEAD + (
    """
metadata: {name: orders}
spec:
  selector: {matchLabels: {app: orders}}
  rules:
    - from: [{serviceAccount: web}]
      ports: [9000]
"""
)
NOBODY = HEAD + "metadata: {name: nobody}\nspec: {selector: {matchLabels: {app: orders}}, default: deny}\n"


@pytest.fixture
def pods(instance):
    server = (sys.executable, "-u", "-c", SERVER)
    instance.client.run("orders", server, annotations={"kube-gateway.io/encrypt": "true"}, service_account="orders")
    for name in ("web", "job"):
        instance.client.run(
            name, ("sleep", "3600"), annotations={"kube-gateway.io/encrypt": "true"}, service_account=name
        )
    for name in ("orders", "web", "job"):
        instance.client.wait_settled(name, timeout=30)
    instance.wait_log("orders", "listening 9001", container="app")
    return instance


def ask(pods, name, *, port=9000, to="orders"):
    """What a client in a pod sees of one exchange."""
    return pods.exec(name, sys.executable, "-c", CLIENT, pods.address(to), str(port), "0").stdout.split()


def apply(pods, *texts):
    pods.client.apply_policies("---\n".join(texts))
    wait_in_force(pods)


def remove(pods, name):
    pods.client.remove_policy(name)
    wait_in_force(pods)


def wait_in_force(pods, *, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not all(pod.rules_in_force for pod in pods.client.pods() if pod.gateway != "none"):
        assert time.monotonic() < deadline, "the gateways do not apply the policies"
        time.sleep(0.02)


def started(client):
    """Until a client that goes on has seen its first echo."""
    assert client.stdout.readline() == "echo\n"
    return client


def last_word(client, *, seconds):
    """How a client that went on ended, which has to be within so many seconds."""
    try:
        said = client.communicate(timeout=seconds)[0].split()
    finally:
        client.kill()
        client.wait()
    return said[-1]


def long_client(pods, name, port=9000):
    return started(pods.start(name, sys.executable, "-c", CLIENT, pods.address("orders"), str(port), "60"))


def test_who_is_denied_is_reset_and_both_logs_say_why(pods):
    apply(pods, ONLY_WEB)
    assert ask(pods, "web") == ["echo"]
    assert ask(pods, "job") == ["ConnectionResetError"]
    # Another port is nobody's business.
    assert ask(pods, "job", port=9001) == ["echo"]
    pods.wait_log("orders", "denied spiffe://cluster.local/ns/default/sa/job a connection to port 9000: policy")
    assert "policy default/orders: no rule allows it" in pods.log("orders")
    pods.wait_log("job", f"denies a connection to {pods.address('orders')}:9000: its policy")
    assert pods.counter("job", "clear_outbound", fresh=True) == 0
    assert pods.counter("job", "denied_outbound") == 1
    (denial,) = pods.report("orders").snapshot.access.denials
    shown = subprocess.run(
        [sys.executable, "-m", "kube_gateway", "local", "--instance", pods.instance.name, "status", "orders"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "spiffe://cluster.local/ns/default/sa/job  9000  default/orders default  1" in shown.stdout
    assert (denial.peer.rpartition("/")[2], denial.port, denial.policy, denial.count) == (
        "job",
        9000,
        "default/orders",
        1,
    )


def test_a_change_ends_what_stands_and_is_no_longer_allowed_and_nothing_else(pods):
    job, web, other = long_client(pods, "job"), long_client(pods, "web"), long_client(pods, "job", port=9001)
    began = time.monotonic()
    pods.client.apply_policies(ONLY_WEB)
    assert last_word(job, seconds=3.0) == "ConnectionResetError"
    assert time.monotonic() - began < 1.5
    pods.wait_log("orders", "ended a connection of spiffe://cluster.local/ns/default/sa/job to port 9000")
    pods.wait_log("job", f"has ended a connection to {pods.address('orders')}:9000: its policy")
    pods.wait_log("orders", "the server saw ConnectionResetError", container="app")
    for client in (web, other):
        assert client.poll() is None
        client.kill()
        client.communicate()
    pods.counts("orders", "authorization_ended", 1)
    remove(pods, "orders")
    assert ask(pods, "job") == ["echo"]


def test_an_idle_connection_is_ended_too(pods):
    idle = (
        "import socket, sys; c = socket.create_connection((sys.argv[1], 9000), 10); c.sendall(b'a'); c.recv(1);"
        "print('idle', flush=True)\ntry: print(c.recv(1))\nexcept OSError as e: print(type(e).__name__)"
    )
    client = pods.start("job", sys.executable, "-c", idle, pods.address("orders"))
    assert client.stdout.readline() == "idle\n"
    apply(pods, NOBODY)
    assert last_word(client, seconds=3.0) == "ConnectionResetError"


def test_a_dry_run_counts_and_lets_pass(pods):
    apply(pods, NOBODY.replace("default: deny", "default: deny, dryRun: true"))
    assert ask(pods, "web") == ["echo"]
    pods.wait_log("orders", "would deny spiffe://cluster.local/ns/default/sa/web a connection to port 9000 (dry run)")
    pods.counts("orders", "authorization_would_deny", 1)
    assert pods.counter("orders", "authorization_denied") == 0
    (policy,) = pods.client.policies()
    assert (policy.selects, policy.denied, policy.would_deny) == (("orders",), 0, 1)


def test_the_next_worker_has_the_rules_before_it_listens(pods):
    apply(pods, NOBODY)
    pods.kill_gateway("orders", "worker")
    seen = {word for _ in range(10) for word in ask(pods, "web")}
    assert seen == {"ConnectionResetError"}
    wait_in_force(pods)
    assert pods.report("orders").snapshot.access.rules


def test_the_next_generation_has_the_rules_and_what_the_older_one_carries_obeys_them(pods):
    apply(pods, ONLY_WEB)
    web = long_client(pods, "web")
    pods.client.upgrade("orders")
    pods.client.wait_settled("orders", timeout=30)
    assert ask(pods, "job") == ["ConnectionResetError"]
    assert web.poll() is None
    apply(pods, ONLY_WEB.replace("serviceAccount: web", "serviceAccount: other"))
    assert last_word(web, seconds=3.0) == "ConnectionResetError"


def test_the_rules_stay_while_the_manager_is_away_and_come_back_with_it(pods):
    apply(pods, NOBODY)
    pods.kill_manager()
    assert ask(pods, "web") == ["ConnectionResetError"]
    pods.up()
    wait_in_force(pods, seconds=15)
    assert ask(pods, "web") == ["ConnectionResetError"]


def test_who_has_no_certificate_is_denied_unless_anyone_may(pods):
    pods.annotate("orders", encrypt="false")
    pods.annotate("web", encrypt="false")
    assert ask(pods, "web") == ["echo"]
    apply(pods, ONLY_WEB)
    assert ask(pods, "web") == ["ConnectionResetError"]
    pods.wait_log("orders", f"denied {pods.address('web')} (without proof) a connection to port 9000")
    apply(pods, ONLY_WEB.replace("serviceAccount: web", "anyone: true"))
    assert ask(pods, "web") == ["echo"]


def test_nobody_gets_round_a_policy_in_clear(pods):
    """Neither who has no gateway, nor who began before there was a policy; other ports and what the pod makes go on."""
    pods.client.run("bare", ("sleep", "3600"))
    assert ask(pods, "bare") == ["echo"]
    before, other = long_client(pods, "bare"), long_client(pods, "bare", port=9001)
    apply(pods, ONLY_WEB)
    assert last_word(before, seconds=5.0) == "ConnectionResetError"
    assert ask(pods, "bare") == ["ConnectionRefusedError"]
    assert ask(pods, "bare", port=9001) == ["echo"]
    assert ask(pods, "web") == ["echo"]
    assert other.poll() is None
    other.kill()
    other.communicate()
