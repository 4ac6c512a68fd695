"""A pod that is being deleted is spoken to as before for as long as its application runs, and goes when that has ended."""

from __future__ import annotations

import json
import time

import pytest
import talk

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PORT = 9080
PRE_STOP, GRACE = 8, 40
# Prints what is answered to new connections for some seconds, and what is not.
CALL = """
import sys, time
from kube_gateway.demo.workload import _get
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    try:
        print(_get(sys.argv[1], int(sys.argv[2])).split()[0])
    except OSError as error:
        print(repr(error))
    time.sleep(0.05)
"""


@pytest.fixture
def pods(cluster, product, namespace):
    """Both enrolled; the server is asked to end, and goes on for some seconds as preStop hooks have servers do."""
    server = json.loads(talk.pod("server").partition("\n")[0])
    server["spec"]["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": PRE_STOP}}}
    server["spec"]["terminationGracePeriodSeconds"] = GRACE
    cluster.apply(json.dumps(server) + "\n---\n" + talk.pod("client"), namespace)
    for pod in ("server", "client"):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    product.enrol("server", "client", namespace=namespace)
    yield namespace
    cluster.kubectl("delete", "pod", "--all", "-n", namespace, "--grace-period=1", "--wait=false")


def call(cluster, namespace, address, seconds):
    """What the client hears from new connections straight to the server."""
    command = ("python3", "-c", CALL, address, str(PORT), str(seconds))
    return cluster.exec("client", *command, container="app", namespace=namespace).split("\n")[:-1]


def test_new_connections_are_encrypted_until_the_application_has_ended(cluster, pods, tmp_path, measured):
    address = cluster.get("pod", "server", pods)["status"]["podIP"]
    assert set(call(cluster, pods, address, 0.5)) == {"Hello"}
    with talk.captured(cluster, "client", pods, tmp_path / "wire.pcap") as evidence:
        began = time.monotonic()
        cluster.kubectl("delete", "pod", "server", "-n", pods, "--wait=false")
        answers = call(cluster, pods, address, PRE_STOP - 3)
        assert time.monotonic() - began < PRE_STOP, "the machine was too slow to tell"
    assert set(answers) == {"Hello"}
    assert not evidence[0].sightings
    carried = {found.port: found.traffic for found in evidence[0].ports if found.payload_bytes}
    assert carried.pop(18444, "tls") == "tls"
    assert carried == {18443: "tls"}

    cluster.wait("pod/server", "delete", timeout=GRACE, namespace=pods)
    took = time.monotonic() - began
    measured(f"an enrolled pod with {PRE_STOP} s of preStop has gone after {took:.1f} s")
    assert took < GRACE - 10
