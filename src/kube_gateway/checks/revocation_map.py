"""What `kube-gateway revoke` does in a cluster: it writes the ConfigMap that the watcher follows."""

from __future__ import annotations

import asyncio
import time

import msgspec

from kube_gateway.checks.reported import read_summary
from kube_gateway.errors import IdentityError
from kube_gateway.identity.revocation import Revocations, is_revoked, restore, revoke
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import Conflict, NotFound
from kube_gateway.watcher.identity_store import IdentityStore
from kube_gateway.watcher.summary import Summary

_LONGEST_LIFE = 30 * 86400.0
"""Seconds: the longest life of certificates that a watcher can be told, for where it has not said which it was told."""

_TRIES = 5
_WRITTEN_WITHIN = 1.0
"""Seconds between two tries while no watcher has written into the ConfigMap."""


class _Meta(msgspec.Struct, frozen=True):
    uid: str = ""


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


async def change_revocations(
    client: KubernetesClient, *, pod: str, uid: str, restored: bool, namespace: str, watcher: str
) -> Revocations:
    """Revoke the pod of this name or uid, or take it back (`restored`); without either, only say which are revoked.

    Raises `IdentityError` and `KubernetesError`.
    """
    store = IdentityStore(client, namespace=watcher)
    name = f"{namespace}/{pod}" if pod else ""
    if pod:
        uid = await _uid(client, pod, namespace=namespace)
    summary = await read_summary(client, watcher)
    life = summary.certificate_life if isinstance(summary, Summary) else _LONGEST_LIFE
    for _ in range(_TRIES):
        stored = await store.revocations()
        before = stored.revocations
        if not uid:
            return before or ()
        if before is None:
            # Made a moment ago. The watcher may know of others, and what is written now would take these back.
            await asyncio.sleep(_WRITTEN_WITHIN)
            continue
        if restored and not is_revoked(before, uid):
            raise IdentityError(f"no pod with the uid {uid} is revoked", hint="kube-gateway revoke --list")
        wanted = restore(before, uid) if restored else revoke(before, uid, pod=name, life=life, now=time.time())
        try:
            await store.write_revocations(wanted, version=stored.version)
        except Conflict:
            continue
        return wanted
    if before is None:
        raise IdentityError("no watcher has written yet which pods are revoked already", hint="kube-gateway check")
    raise IdentityError("somebody changes the revocations all the time", hint="try again")


async def _uid(client: KubernetesClient, pod: str, *, namespace: str) -> str:
    try:
        return (await client.get(f"/api/v1/namespaces/{namespace}/pods/{pod}", _Pod)).metadata.uid
    except NotFound:
        raise IdentityError(
            f"there is no pod {pod} in the namespace {namespace}",
            hint="one that is gone is revoked by its uid: kube-gateway revoke --uid UID",
        ) from None
