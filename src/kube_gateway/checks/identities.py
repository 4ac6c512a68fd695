"""Reads what a pod of a cluster would prove, as its gateway last reported it to the watcher."""

from __future__ import annotations

import msgspec

from kube_gateway.checks.asking import Refusal
from kube_gateway.checks.reported import logs_of, read_summary
from kube_gateway.errors import IdentityError
from kube_gateway.identity.bundle import trust_generation
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.model.identity_report import IdentityReport
from kube_gateway.watcher.summary import Summary


async def read_identity(client: KubernetesClient, pod: str, *, namespace: str, watcher: str) -> IdentityReport:
    """`watcher` is the namespace that the watcher is in. Raises `IdentityError` and `KubernetesError`."""
    summary = await read_summary(client, watcher)
    if not isinstance(summary, Summary):
        assert isinstance(summary, Refusal)  # noqa: S101 - all there is
        raise IdentityError(f"what gateways prove is not known: {summary.message}", hint=summary.hint)
    found = next((one for one in summary.pods if one.key == f"{namespace}/{pod}"), None)
    if found is None:
        raise IdentityError(
            f"{namespace}/{pod} has no gateway, and proves nothing",
            hint=f"kubectl annotate pod -n {namespace} {pod} kube-gateway.io/encrypt=true",
        )
    if found.identity is None:
        raise IdentityError(f"the gateway of {namespace}/{pod} has not said what it proves", hint=logs_of(watcher))
    identity = found.identity
    # What the summary has elsewhere is not told of each pod.
    roots = identity.roots or (summary.roots if trust_generation(summary.roots) == identity.trust_generation else ())
    return msgspec.structs.replace(identity, uid=found.uid, roots=roots)
