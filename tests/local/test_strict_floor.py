"""An instance in which every pod that encrypts is strict."""

from __future__ import annotations

import sys

import pytest

from kube_gateway.local import lifecycle
from pods import Pods

pytestmark = pytest.mark.root

LISTEN = """
import socket
with socket.create_server(("", 7777)) as server:
    print("ready", flush=True)
    while True:
        with server.accept()[0] as connection: connection.sendall(b"hello")
"""
CONNECT = """
import errno, socket
try:
    with socket.create_connection((ADDRESS, 7777), timeout=10) as connection: print(connection.recv(9).decode())
except OSError as error: print(errno.errorcode.get(error.errno, error))
"""


def connect(pods, source, target) -> str:
    text = CONNECT.replace("ADDRESS", repr(pods.address(target)))
    return pods.exec(source, sys.executable, "-c", text).stdout.strip()


@pytest.fixture
def strict(instance) -> Pods:
    """Up again, and strict from then on."""
    instance.kill_manager()
    assert lifecycle.up(instance.instance, strict=True)
    return instance


def test_a_pod_that_asks_for_encryption_speaks_to_nobody_in_clear(strict):
    strict.run("server", sys.executable, "-c", LISTEN)
    strict.wait_log("server", "ready", container="app")
    strict.run("client", "sleep", "3600", encrypt="true")
    pod = strict.client.wait_settled("client", timeout=20)
    assert pod.encryption == "strict"
    assert pod.annotations == {"kube-gateway.io/encrypt": "true"}
    assert connect(strict, "client", "server") in {"ECONNRESET", "ECONNREFUSED"}
    assert connect(strict, "server", "server") == "hello"


def test_a_pod_that_asks_for_no_encryption_is_left_alone(strict):
    strict.run("server", sys.executable, "-c", LISTEN)
    strict.wait_log("server", "ready", container="app")
    strict.run("client", "sleep", "3600", encrypt="false")
    assert strict.client.wait_settled("client", timeout=20).encryption == "off"
    assert connect(strict, "client", "server") == "hello"


def test_the_next_manager_is_as_strict_until_it_is_told_otherwise(strict):
    strict.run("client", "sleep", "3600", encrypt="true")
    strict.client.wait_settled("client", timeout=20)
    strict.kill_manager()
    strict.up()
    assert strict.pod("client").encryption == "strict"
    strict.kill_manager()
    assert lifecycle.up(strict.instance, strict=False)
    assert strict.client.wait_settled("client", timeout=20).encryption == "permissive"
    strict.wait_log("client", "settings changed: encryption permissive")


def test_an_annotation_that_is_changed_later_cannot_get_below(strict):
    strict.run("client", "sleep", "3600", encrypt="strict")
    strict.client.wait_settled("client", timeout=20)
    strict.annotate("client", encrypt="true")
    assert strict.pod("client").encryption == "strict"
    assert "settings changed" not in strict.log("client")
