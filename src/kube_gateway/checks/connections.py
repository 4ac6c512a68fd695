"""Reads what is published of one pod's connections in clear, and the names of its containers."""

from __future__ import annotations

import asyncio

import msgspec

from kube_gateway.checks.asking import Refusal, read
from kube_gateway.checks.objects import ConfigMap
from kube_gateway.checks.reported import INSTALL_AGAIN, NoSummary
from kube_gateway.control.flush_plan import FlushPlan
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import NotFound
from kube_gateway.watcher.connections import KEY, Connections
from kube_gateway.watcher.summary import CONFIG_MAP


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    container_id: str | None = msgspec.field(default=None, name="containerID")


class _PodStatus(msgspec.Struct, frozen=True, rename="camel"):
    container_statuses: tuple[_Status, ...] | None = None
    init_container_statuses: tuple[_Status, ...] | None = None
    ephemeral_container_statuses: tuple[_Status, ...] | None = None


class _Pod(msgspec.Struct, frozen=True):
    status: _PodStatus = _PodStatus()


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """`plan` is None where the pod has no connections in clear, or none are known; `containers` has names by their ids."""

    time: float
    plan: FlushPlan | None
    containers: dict[str, str]
    left_out: int


async def read_published(
    client: KubernetesClient, name: str, *, namespace: str, watcher: str
) -> Published | NoSummary | Refusal:
    """Of one pod. Raises `KubernetesError`, `NotFound` if there is no such pod."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    where = f"the ConfigMap {watcher}/{CONFIG_MAP}"
    pod, found = await asyncio.gather(
        read(client, path, _Pod), read(client, f"/api/v1/namespaces/{watcher}/configmaps/{CONFIG_MAP}", ConfigMap)
    )
    if pod is None:
        hint = f"kubectl get pods -n {namespace}"
        raise NotFound(f"there is no pod {name} in the namespace {namespace}", status=404, hint=hint)
    if isinstance(found, Refusal):
        return found
    text = (found.data or {}).get(KEY) if found is not None else None
    if text is None:
        return NoSummary(f"{where} tells of no connections", INSTALL_AGAIN)
    try:
        published = msgspec.json.decode(text, type=Connections)
    except msgspec.DecodeError as error:
        return NoSummary(f"{where} is not understood ({error})", "use the kube-gateway of the watcher's version")
    key = f"{namespace}/{name}"
    return Published(
        time=published.time,
        plan=next((plan for plan in published.plans if plan.pod == key), None),
        containers={} if isinstance(pod, Refusal) else _containers(pod),
        left_out=published.left_out,
    )


def _containers(pod: _Pod) -> dict[str, str]:
    """Names by the part of an id that cgroups are named for: `containerd://ID`."""
    status = pod.status
    groups = (status.container_statuses, status.init_container_statuses, status.ephemeral_container_statuses)
    return {
        identifier: one.name
        for group in groups
        for one in group or ()
        if (identifier := (one.container_id or "").partition("://")[2])
    }
