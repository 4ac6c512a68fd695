"""A thousand pods in the API. No kubelet runs them: what is measured is the watcher."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import talk
from product import NAMESPACE, PREFIX

from cluster import ClusterError
from kube_gateway.kube.client import KubernetesClient

pytestmark = [pytest.mark.cluster, pytest.mark.root]

PODS = 1000


def fake_pod(number: int) -> dict[str, Any]:
    """On a node that is not there, without the volume of a service account, which nobody would mount."""
    pod: dict[str, Any] = json.loads(talk.pod(f"fake-{number}").removesuffix("---\n"))
    pod["spec"] |= {"nodeName": "nowhere", "automountServiceAccountToken": False}
    return pod


def running(number: int) -> dict[str, object]:
    address = f"10.251.{number // 250}.{number % 250 + 1}"
    return {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}


async def make_pods(cluster, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods"
    some = asyncio.Semaphore(16)

    async def make(client: KubernetesClient, number: int) -> None:
        async with some:
            await client.create(path, fake_pod(number))
            await client.patch(f"{path}/fake-{number}/status", running(number), kind="merge")

    async with KubernetesClient.connect(kubeconfig=cluster.kubeconfig) as client, asyncio.TaskGroup() as group:
        for number in range(PODS):
            group.create_task(make(client, number))


def memory(pid: int) -> float:
    """Resident memory of a process in MB. Raises ClusterError when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    except (OSError, IndexError) as error:
        raise ClusterError(f"process {pid} has ended") from error
    return int(fields[0]) / 1000


# A watcher may take minutes for all of them, and the API server for making and deleting them.
@pytest.mark.timeout(600)
def test_a_thousand_pods(cluster, product, namespace, measured):
    leader = product.leader()
    pid = cluster.pod_pid(leader, namespace=NAMESPACE)
    empty = memory(pid)
    try:
        asyncio.run(make_pods(cluster, namespace))
        known = memory(pid)
        began = time.monotonic()
        cluster.kubectl("annotate", "namespace", namespace, f"{PREFIX}encrypt=true")
        cluster.eventually("all have a gateway", lambda: with_gateway(cluster, namespace) == PODS, timeout=240, every=1)
        took = time.monotonic() - began
        measured(
            f"{PODS} pods annotated by their namespace have a gateway after {took:.0f} s ({PODS / took:.0f} a second)"
        )
        measured(f"memory of the watcher: {empty:.0f} MB, {known:.0f} MB with {PODS} pods, {memory(pid):.0f} MB then")
        assert product.leader() == leader
        assert memory(pid) < 300

        talk.kill(pid)
        began = time.monotonic()
        product.serving()
        cluster.eventually(
            "a watcher leads", lambda: product.leader() not in ("", leader) or memory_of(cluster, leader)
        )
        measured(f"a watcher that is killed is replaced after {time.monotonic() - began:.1f} s")
        names = {name for pod in pods(cluster, namespace) for name in names_of(pod)}
        assert names == {"kube-gateway"}
    finally:
        cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=0", "--force", "--wait=false")
        cluster.kubectl("annotate", "namespace", namespace, f"{PREFIX}encrypt-")


def memory_of(cluster, pod):
    return memory(cluster.pod_pid(pod, namespace=NAMESPACE))


def pods(cluster, namespace):
    return json.loads(cluster.kubectl("get", "pods", "-n", namespace, "-o", "json", "--chunk-size=0"))["items"]


def names_of(pod):
    return [container["name"] for container in pod["spec"].get("ephemeralContainers", [])]


def with_gateway(cluster, namespace):
    return sum(bool(names_of(pod)) for pod in pods(cluster, namespace))
