"""`kube-gateway local status`: what has left the pods of this machine."""

from __future__ import annotations

import json
import re
import time

import pytest

pytestmark = pytest.mark.root

SEND = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for _ in range(10): sender.sendto(bytes(100), (ADDRESS, 7001))
"""
HEADINGS = [
    "NAME",
    "ENCRYPT",
    "GATEWAY",
    "SENT",
    "TUNNEL",
    "TLS",
    "PLAIN",
    "UDP",
    "OTHER",
    "REFUSED",
    "UDP REFUSED",
    "NOW",
    "CLEAR",
]


@pytest.fixture
def pods(instance):
    """`one` is enrolled and has sent a thousand bytes by UDP to `two`, which is not."""
    instance.run("two", "sleep", "3600")
    instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    instance.exec("one", "python3", "-c", SEND.replace("ADDRESS", repr(instance.address("two"))))
    deadline = time.monotonic() + 10
    while not (sent := instance.report("one").sent) or sent.totals["udp"] < 1000:
        assert time.monotonic() < deadline, sent
        time.sleep(0.1)
    return instance


def test_the_table(pods, cli):
    done = cli("status")
    assert (done.returncode, done.stderr) == (0, "")
    headings, *rows = done.stdout.splitlines()
    assert re.split(r"  +", headings) == HEADINGS
    cells = {row.split()[0]: re.split(r"  +", row) for row in rows}
    assert cells["two"] == ["two", "off", "none", *"-" * 10]
    assert cells["one"] == ["one", "permissive", "ready", "0% of 1.0 kB", "0 B", "0 B", "0 B", "1.0 kB", "0 B", *"00-0"]


def test_one_pod_with_its_peers(pods, cli):
    lines = cli("status", "one").stdout.splitlines()
    assert re.fullmatch(r"since \d+[smh] ago, to those with the most:", lines[3])
    assert re.split(r"  +", lines[4]) == ["TO", "KIND", "BYTES", "PACKETS"]
    assert re.split(r"  +", lines[5]) == [pods.address("two"), "udp", "1.0 kB", "10"]


def test_as_data(pods, cli):
    two, one = json.loads(cli("status", "--output", "json").stdout)
    assert (two["name"], two["sent"], two["clear_connections"]) == ("two", None, None)
    assert (one["name"], one["encryption"], one["refused_in_clear"], one["udp_refused"]) == ("one", "permissive", 0, 0)
    assert one["sent"]["totals"]["udp"] == 1000
    assert one["sent"]["peers"][0]["address"] == pods.address("two")


def test_a_pod_that_there_is_not(pods, cli):
    done = cli("status", "three")
    assert done.returncode == 1
    assert done.stderr == "error: there is no pod 'three'\nhint: pods of this instance: two, one\n"
