"""Connections to Services of a real cluster are tunnelled to a ready backend, by every address, whoever comes and goes."""

from __future__ import annotations

import ipaddress
import json

import pytest
import talk
from product import PREFIX

pytestmark = [pytest.mark.cluster, pytest.mark.root]

CLIENT = "client"
BACKENDS = ("one", "two")
# Prints who answers: each answer is "Hello from NAME to ADDRESS".
FETCH = """
import sys
from kube_gateway.demo.workload import _get
for _ in range(int(sys.argv[3])):
    try:
        print(_get(sys.argv[1], int(sys.argv[2])).split()[2])
    except OSError as error:
        print(repr(error))
"""


@pytest.fixture(scope="module")
def shop(cluster, product, namespace):
    """Two enrolled backends behind Services of several kinds, and an enrolled client that knows the Services only."""
    ports = [{"name": "web", "port": 80, "targetPort": 9080}]
    named = [{"name": "web", "port": 80, "targetPort": "http"}]
    cluster.apply(
        talk.service("web", app="shop", ports=ports)
        + talk.service("named", app="shop", ports=named)
        + talk.service("sticky", app="shop", ports=ports, sessionAffinity="ClientIP")
        + talk.service("headless", app="shop", ports=ports, clusterIP="None")
        + talk.service("nobody", app="none", ports=ports)
        + "".join(backend(name) for name in BACKENDS)
        + talk.pod(CLIENT),
        namespace,
    )
    for pod in (*BACKENDS, CLIENT):
        cluster.wait(f"pod/{pod}", "Ready", namespace=namespace)
    product.enrol(*BACKENDS, CLIENT, namespace=namespace)
    cluster.eventually("two endpoints", lambda: len(endpoints(cluster, namespace)) == 2)
    return namespace


def backend(name):
    pod = json.loads(talk.pod(name).removesuffix("---\n"))
    pod["metadata"]["labels"] = {"app": "shop"}
    pod["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 9080}]
    # It ends at once when it is told to, with what it was about to answer; servers in earnest wait a while as well.
    pod["spec"]["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": 3}}}
    pod["spec"]["terminationGracePeriodSeconds"] = 5
    return json.dumps(pod) + "\n---\n"


def endpoints(cluster, namespace, service="web"):
    """Ready addresses (IPv4) of a Service."""
    listed = cluster.kubectl(
        "get", "endpointslices", "-n", namespace, "-l", f"kubernetes.io/service-name={service}", "-o", "json"
    )
    return [
        address
        for part in json.loads(listed)["items"]
        if part["addressType"] == "IPv4"
        for endpoint in part.get("endpoints") or []
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    ]


def fetch(cluster, namespace, host, *, port=80, times=1):
    """Who answered, time after time."""
    command = ("python3", "-c", FETCH, host, str(port), str(times))
    return cluster.exec(CLIENT, *command, container="app", namespace=namespace).split("\n")[:times]


def addresses(cluster, namespace, service):
    return cluster.get("service", service, namespace)["spec"]["clusterIPs"]


def tunnelled(cluster, namespace, host, tmp_path, *, port=80, times=20):
    """The same, with the proof that nothing but the tunnel carried it."""
    fetch(cluster, namespace, host, port=port)
    with talk.captured(cluster, CLIENT, namespace, tmp_path / "wire.pcap") as evidence:
        answers = fetch(cluster, namespace, host, port=port, times=times)
    assert not evidence[0].sightings
    carried = {found.port: found.traffic for found in evidence[0].ports if found.payload_bytes}
    # The gateway's line to the watcher may be among it; names are looked up in clear, over UDP.
    assert carried.pop(18444, "tls") == "tls"
    assert carried == {18443: "tls"}
    return answers


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("service", ["web", "named"])
def test_a_client_that_knows_the_cluster_ip_is_encrypted(cluster, shop, tmp_path, service, version):
    hosts = [host for host in addresses(cluster, shop, service) if ipaddress.ip_address(host).version == version]
    assert len(hosts) == 1 or not cluster.ipv6
    for host in hosts:
        assert set(tunnelled(cluster, shop, host, tmp_path)) == set(BACKENDS)


def test_a_headless_service_is_encrypted(cluster, shop, tmp_path):
    assert set(tunnelled(cluster, shop, "headless", tmp_path, port=9080)) <= set(BACKENDS)


def test_the_application_sees_the_service_it_dialled(cluster, shop):
    (host, *_) = addresses(cluster, shop, "web")
    program = "import socket, sys; print(socket.create_connection((sys.argv[1], 80), 5).getpeername()[:2])"
    seen = cluster.exec(CLIENT, "python3", "-c", program, host, container="app", namespace=shop)
    assert seen.strip() == str((host, 80))


def test_with_affinity_a_client_stays_with_its_backend(cluster, shop):
    (host, *_) = addresses(cluster, shop, "sticky")
    assert len(set(fetch(cluster, shop, host, times=20))) == 1


def test_a_service_that_nobody_serves_refuses(cluster, shop):
    (host, *_) = addresses(cluster, shop, "nobody")
    (answer,) = fetch(cluster, shop, host)
    assert "ConnectionResetError" in answer or "ConnectionRefusedError" in answer


def test_backends_come_and_go_and_no_connection_fails(cluster, product, shop, tmp_path):
    """A third joins, the first is deleted, a fourth that is not enrolled is spoken to in clear."""
    (host, *_) = addresses(cluster, shop, "web")
    cluster.apply(backend("three"), shop)
    cluster.wait("pod/three", "Ready", namespace=shop)
    product.enrol("three", namespace=shop)
    cluster.eventually("three answers", lambda: "three" in fetch(cluster, shop, host, times=20))

    cluster.kubectl("delete", "pod", "one", "-n", shop, "--grace-period=5", "--wait=false")
    answers = [answer for _ in range(6) for answer in fetch(cluster, shop, host, times=20)]
    assert {answer for answer in answers if "Error" in answer} == set()
    cluster.wait("pod/one", "delete", namespace=shop)
    assert set(tunnelled(cluster, shop, host, tmp_path)) == {"two", "three"}

    cluster.apply(backend("four"), shop)
    cluster.wait("pod/four", "Ready", namespace=shop)
    cluster.eventually("four answers", lambda: "four" in fetch(cluster, shop, host, times=20))
    with talk.captured(cluster, CLIENT, shop, tmp_path / "mixed.pcap") as evidence:
        assert set(fetch(cluster, shop, host, times=60)) == {"two", "three", "four"}
    four = cluster.get("pod", "four", shop)["status"]["podIPs"]
    in_clear = {sighting.source for sighting in evidence[0].sightings}
    assert in_clear == {address["ip"] for address in four} & in_clear
    assert in_clear


def test_a_strict_client_reaches_the_enrolled_backends_only(cluster, product, shop):
    (host, *_) = addresses(cluster, shop, "web")
    cluster.kubectl("annotate", "pod", CLIENT, "-n", shop, "--overwrite", f"{PREFIX}encrypt=strict")
    cluster.eventually("strict", lambda: "no others" in product.condition(CLIENT, shop)["message"])
    assert set(fetch(cluster, shop, host, times=30)) == {"two", "three"}
    cluster.kubectl("annotate", "pod", CLIENT, "-n", shop, "--overwrite", f"{PREFIX}encrypt=true")


def test_services_work_while_the_api_server_and_the_watchers_are_away(cluster, product, shop, tmp_path):
    (host, *_) = addresses(cluster, shop, "web")
    fetch(cluster, shop, host)
    pids = [cluster.pod_pid(pod, namespace="kube-gateway") for pod in product.watchers()]
    client = cluster.container_id(CLIENT, "app", shop)
    with talk.captured(cluster, CLIENT, shop, tmp_path / "wire.pcap") as evidence, cluster.without_api():
        talk.kill(*pids)
        answers = cluster.exec_by_runtime(client, "python3", "-c", FETCH, host, "80", "20").split()
    assert set(answers) <= {"two", "three", "four"}
    assert 18443 in {port.port for port in evidence[0].ports if port.payload_bytes}
    product.serving()
