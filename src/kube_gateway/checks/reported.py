"""Reads the summary that the watcher publishes."""

from __future__ import annotations

import msgspec

from kube_gateway.checks.asking import Refusal, read
from kube_gateway.checks.objects import ConfigMap
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.watcher.summary import CONFIG_MAP, KEY, Summary

FRESH = 120.0
"""Seconds: twice as long as the watcher may be silent."""

INSTALL_AGAIN = "kube-gateway install | kubectl apply -f -"


class NoSummary(Refusal, frozen=True):
    """There is none, though it may be asked for."""


async def read_summary(client: KubernetesClient, namespace: str) -> Summary | NoSummary | Refusal:
    """Read it. Raises `KubernetesError`."""
    where = f"the ConfigMap {namespace}/{CONFIG_MAP}"
    found = await read(client, f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}", ConfigMap)
    if isinstance(found, Refusal):
        return found
    if found is None:
        return NoSummary(f"{where} is missing", INSTALL_AGAIN)
    text = (found.data or {}).get(KEY)
    if not text:
        return NoSummary(f"{where} is empty: no watcher has written it yet", logs_of(namespace))
    try:
        return msgspec.json.decode(text, type=Summary)
    except msgspec.DecodeError as error:
        hint = "use the kube-gateway of the watcher's version"
        return NoSummary(f"{where} is not understood ({error})", hint)


def logs_of(namespace: str) -> str:
    """The command that shows what watchers say."""
    return f"kubectl logs -n {namespace} -l app.kubernetes.io/component=watcher --prefix --tail=50"
