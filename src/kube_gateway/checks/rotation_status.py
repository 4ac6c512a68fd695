"""What `kube-gateway ca rotate` does in a cluster: it writes the beginning, or the undoing; the watcher does the rest."""

from __future__ import annotations

import time
from typing import Literal

from kube_gateway.checks.reported import read_summary
from kube_gateway.errors import IdentityError
from kube_gateway.identity import rotation
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.roots import Roots, begin, moved, successor
from kube_gateway.identity.rotation import Status
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import Conflict
from kube_gateway.watcher.identity_store import IdentityStore, StoredRoots
from kube_gateway.watcher.summary import Summary

_TRIES = 5


async def rotate(
    client: KubernetesClient,
    what: Literal["begin", "status", "abort"],
    *,
    namespace: str,
    new: Authority | None = None,
) -> Status:
    """Begin a rotation (to `new`, or to a root that is made), undo it, or say how far it is.

    Raises `IdentityError` and `KubernetesError`.
    """
    store = IdentityStore(client, namespace=namespace)
    stored = await store.roots() if what == "status" else await _change(store, what, new=new)
    roots = stored.roots
    summary = await read_summary(client, namespace) if what == "status" else None
    published = summary.trust if isinstance(summary, Summary) else None
    # The summary is some seconds old: what it says of another step says nothing of this one.
    waiting = published.waiting if published is not None and published.rotation == roots.rotation else ()
    told_at = published.told_at if published is not None else time.time()
    return Status(root=roots.plan.signer, rotation=roots.rotation, waiting=waiting, told_at=told_at)


async def _change(store: IdentityStore, what: Literal["begin", "abort"], *, new: Authority | None) -> StoredRoots:
    for _ in range(_TRIES):
        stored = await store.roots()
        roots = _begun(stored.roots, new) if what == "begin" else _aborted(stored.roots)
        try:
            await store.write_roots(roots, version=stored.version)
        except Conflict:
            # The watcher has taken a step in the meantime.
            continue
        return StoredRoots(roots=roots, version="")
    raise IdentityError("somebody changes the Secret of the authority all the time", hint="try again")


def _begun(roots: Roots, new: Authority | None) -> Roots:
    return begin(roots, new or successor(roots.current), now=time.time())


def _aborted(roots: Roots) -> Roots:
    if roots.rotation is None:
        raise IdentityError("no rotation is under way", hint="kube-gateway ca rotate begins one")
    return moved(roots, rotation.abort(roots.rotation, now=time.time()))
