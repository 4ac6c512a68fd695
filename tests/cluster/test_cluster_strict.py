"""A strict pod in a cluster: its kubelet is let in and other pods are not, also when its gateway is killed."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import talk
from product import IMAGE, serving

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PORT = 9080
"""Of the demo's program: HTTP."""

# Tries for a second and says what came of it.
KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close(); print("connected")
except OSError as error:
    print(type(error).__name__)
"""


def probed(name: str) -> str:
    """A pod whose kubelet asks it for its health each second, by the name of a port."""
    body = json.loads(talk.pod(name).partition("\n")[0])
    (container,) = body["spec"]["containers"]
    container["ports"] = [{"name": "http", "containerPort": PORT}]
    probe = {"periodSeconds": 1, "failureThreshold": 2, "timeoutSeconds": 1}
    container["readinessProbe"] = {"tcpSocket": {"port": "http"}, **probe}
    return json.dumps(body) + "\n---\n"


@pytest.fixture
def pods(cluster, product, namespace):
    """A strict, probed server, and a stranger that is not enrolled."""
    cluster.apply(probed("server") + talk.pod("stranger"), namespace)
    for pod in ("server", "stranger"):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    product.enrol("server", namespace=namespace, encrypt="strict", udp="dns-only")
    yield namespace
    cluster.kubectl("delete", "pod", "--all", "-n", namespace, "--grace-period=1")


def knock(cluster, namespace: str, port: int = PORT) -> list[str]:
    """What the stranger gets to hear at each of the server's addresses."""
    addresses = [each["ip"] for each in cluster.get("pod", "server", namespace)["status"]["podIPs"]]
    command = ("python3", "-c", KNOCK)
    return [
        cluster.exec("stranger", *command, address, str(port), namespace=namespace).strip() for address in addresses
    ]


def is_ready(cluster, namespace: str) -> str:
    found = cluster.get("pod", "server", namespace)["status"]["conditions"]
    return next(condition["status"] for condition in found if condition["type"] == "Ready")


def test_probes_pass_and_others_do_not(cluster, product, pods):
    assert IMAGE in json.dumps(cluster.get("pod", "server", pods))
    assert set(knock(cluster, pods)) == {"ConnectionRefusedError"}
    (name,) = cluster.eventually("it runs", lambda: serving(cluster.get("pod", "server", pods)))
    cluster.eventually("it is told", lambda: "in clear" in cluster.logs("server", name, pods))
    # Several probes.
    time.sleep(5)
    assert is_ready(cluster, pods) == "True"
    stranger = cluster.get("pod", "stranger", pods)["status"]["podIP"]
    product.annotate("server", pods, exempt_sources=f"{stranger}/32")
    cluster.eventually("the stranger is let in", lambda: knock(cluster, pods)[0] == "connected")
    product.annotate("server", pods, exempt_sources=None)
    cluster.eventually("it is not any more", lambda: knock(cluster, pods)[0] == "ConnectionRefusedError")


def test_without_its_gateway_too(cluster, product, pods):
    (name,) = cluster.eventually("it runs", lambda: serving(cluster.get("pod", "server", pods)))
    supervisor = cluster.pod_pid("server", name, pods)
    os.kill(supervisor, signal.SIGKILL)
    # Until its successor is there nobody answers, then it refuses; nobody is let in.
    outcomes = {outcome for _ in range(4) for outcome in knock(cluster, pods)}
    assert outcomes <= {"TimeoutError", "ConnectionRefusedError"}
    cluster.eventually(
        "a successor serves", lambda: set(serving(cluster.get("pod", "server", pods))) - {name}, timeout=30
    )
    cluster.eventually("it refuses", lambda: set(knock(cluster, pods)) == {"ConnectionRefusedError"})
    assert is_ready(cluster, pods) == "True"
