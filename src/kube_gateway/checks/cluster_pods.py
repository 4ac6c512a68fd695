"""Reads the pods that have to do with us, with all that is known of them."""

from __future__ import annotations

import asyncio

import msgspec

from kube_gateway.checks.asking import Refusal, read, read_all
from kube_gateway.checks.enrolment import PodView, concerns_us, view
from kube_gateway.checks.reported import NoSummary, read_summary
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import NotFound
from kube_gateway.watcher.objects import NamespaceObject, PodObject
from kube_gateway.watcher.summary import Summary


class Enrolled(msgspec.Struct, frozen=True, kw_only=True):
    """The pods, by name, and the summary that was read with them. `blind`: why annotations of namespaces do not count."""

    pods: tuple[PodView, ...] | Refusal
    summary: Summary | NoSummary | Refusal
    blind: Refusal | None = None


async def read_enrolled(client: KubernetesClient, *, watcher: str, namespace: str = "") -> Enrolled:
    """Those of one namespace, or of all; `watcher` is the namespace that the watcher is in. Raises `KubernetesError`."""
    path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
    seen, annotations, summary = await asyncio.gather(
        read_all(client, path, PodObject), _annotations(client, namespace), read_summary(client, watcher)
    )
    if isinstance(seen, Refusal):
        return Enrolled(pods=seen, summary=summary)
    blind = annotations if isinstance(annotations, Refusal) else None
    inherited = {} if isinstance(annotations, Refusal) else annotations
    reported = {pod.key: pod for pod in summary.pods} if isinstance(summary, Summary) else {}
    pods = [
        view(
            pod,
            inherited=inherited.get(pod.metadata.namespace, {}),
            reported=reported.get(f"{pod.metadata.namespace}/{pod.metadata.name}"),
            strict=_is_strict(summary),
        )
        for pod in seen
        if pod.metadata.namespace != watcher and concerns_us(pod, inherited=inherited.get(pod.metadata.namespace, {}))
    ]
    return Enrolled(pods=tuple(sorted(pods, key=lambda pod: pod.key)), summary=summary, blind=blind)


async def read_pod(client: KubernetesClient, name: str, *, watcher: str, namespace: str) -> Enrolled:
    """One pod, whether it has to do with us or not. Raises `KubernetesError`, `NotFound` if there is none."""
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    try:
        seen = await client.get(path, PodObject)
    except NotFound:
        raise NotFound(
            f"there is no pod {name} in the namespace {namespace}", status=404, hint=f"kubectl get pods -n {namespace}"
        ) from None
    annotations, summary = await asyncio.gather(_annotations(client, namespace), read_summary(client, watcher))
    inherited = {} if isinstance(annotations, Refusal) else annotations.get(namespace, {})
    reported = [pod for pod in summary.pods if pod.key == f"{namespace}/{name}"] if isinstance(summary, Summary) else []
    found = view(seen, inherited=inherited, reported=reported[0] if reported else None, strict=_is_strict(summary))
    blind = annotations if isinstance(annotations, Refusal) else None
    return Enrolled(pods=(found,), summary=summary, blind=blind)


def _is_strict(summary: Summary | NoSummary | Refusal) -> bool:
    return isinstance(summary, Summary) and summary.strict


async def _annotations(client: KubernetesClient, namespace: str) -> dict[str, dict[str, str]] | Refusal:
    """Annotations by namespace."""
    if not namespace:
        found = await read_all(client, "/api/v1/namespaces", NamespaceObject)
        if isinstance(found, Refusal):
            return found
        return {one.metadata.name: one.metadata.annotations or {} for one in found}
    one = await read(client, f"/api/v1/namespaces/{namespace}", NamespaceObject)
    if isinstance(one, Refusal):
        return one
    return {namespace: (one.metadata.annotations or {}) if one is not None else {}}
