"""Roots and revocations of a cluster, followed by every watcher and acted on by the one that leads.

All watchers look at the same two objects, so whichever leads goes on where the last one was. One that stands by proves
itself to gateways too, so each step lasts long enough for it to have seen the last one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator

from kube_gateway.control import trust
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.errors import IdentityError
from kube_gateway.identity import revocation, rotation
from kube_gateway.identity.roots import moved
from kube_gateway.identity.rotation import Holder, Status, Waiting
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import Conflict, KubernetesError
from kube_gateway.watcher.authority import Signer
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.generations import generations
from kube_gateway.watcher.identity_store import IdentityStore, StoredRevocations

_log = logging.getLogger("watcher")

LOOK_EVERY = 2.0
"""Seconds between two looks at what is stored: how late a revocation is at most."""

STEP_AT_LEAST = 10.0
"""Seconds that each step of a rotation lasts, for the watchers that stand by."""

_TEND_EVERY = 1.0


class Identities:
    """Keeps `signer` at what is stored, and drives rotations while its watcher leads."""

    def __init__(self, client: KubernetesClient, configuration: Configuration, *, signer: Signer) -> None:
        self._store = IdentityStore(client, namespace=configuration.namespace, trust_domain=configuration.trust_domain)
        self._life = configuration.certificate_life.total_seconds()
        self._signer = signer
        self._stored: StoredRevocations | None = None
        self._version = ""
        self._waiting: tuple[Waiting, ...] = ()
        self._told: dict[str, str] = {}
        self._known = asyncio.Event()

    async def follow(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """Take over what is stored. What cannot be read stays as it was, and is told once."""
        try:
            found = await self._store.roots()
        except (KubernetesError, IdentityError) as error:
            self._tell("roots", f"a rotation of the root would not be seen: {error.message}")
        else:
            self._tell("roots", "")
            self._version = found.version
            if found.roots.rotation != self._signer.roots.rotation:
                self._waiting = ()
            self._signer.take(found.roots)
        try:
            self._stored = await self._store.revocations()
        except (KubernetesError, IdentityError) as error:
            hint = f" ({error.hint})" if error.hint else ""
            self._tell("revocations", f"a revocation would not be seen: {error.message}{hint}")
        else:
            self._tell("revocations", "")
            # One that was made anew says nothing yet: who leads writes into it who is revoked.
            if self._stored.revocations is not None:
                self._signer.revocations = self._stored.revocations
            self._known.set()

    async def revocations_known(self) -> None:
        """Wait until it is known who is revoked; `follow` looks. Whoever led before would tell everybody that nobody is."""
        await self._known.wait()

    async def lead(self, cluster: Cluster) -> None:
        """Tell gateways what they do not know, and take steps once all have taken the last one, until cancelled."""
        while True:
            try:
                await self._tend(cluster)
            except Conflict:
                await self.look()
            except (KubernetesError, IdentityError) as error:
                self._tell("tending", f"roots and revocations are not tended: {error.message}")
            else:
                self._tell("tending", "")
            await asyncio.sleep(_TEND_EVERY)

    @property
    def trusted(self) -> frozenset[str]:
        """Fingerprints of the roots that gateways shall trust."""
        return self._signer.roots.plan.trusted

    @property
    def status(self) -> Status:
        """How far a rotation is."""
        roots = self._signer.roots
        return Status(root=roots.plan.signer, rotation=roots.rotation, waiting=self._waiting, told_at=time.time())

    async def _tend(self, cluster: Cluster) -> None:
        signer, holders = self._signer, []
        for key, uid, line in _lines(cluster):
            if revocation.is_revoked(signer.revocations, uid):
                line.close()
                continue
            trust.tell(line, roots=signer.roots, revocations=signer.revocations)
            if (found := trust.holder(line, name=key, life=self._life)) is not None:
                holders.append(found)
        await self._keep_revocations(cluster)
        if signer.roots.rotation is not None and self._version:
            await self._advance(signer.roots.rotation, tuple(holders))

    async def _advance(self, before: rotation.Rotation, holders: tuple[Holder, ...]) -> None:
        now = time.time()
        self._waiting = rotation.waits_for(before, holders, now=now)
        after = rotation.advance(before, holders, now=now, at_least=STEP_AT_LEAST)
        if after == before:
            return
        roots = moved(self._signer.roots, after)
        await self._store.write_roots(roots, version=self._version)
        # The next write needs the version that this one made.
        self._version, self._waiting = "", ()
        self._signer.take(roots)
        if after is None:
            _log.info("the root is %s, and no other", roots.current.fingerprint[:16])
        else:
            _log.info("rotation of the root: %s (%s replaces %s)", after.stage, after.new[:16], after.old[:16])

    async def _keep_revocations(self, cluster: Cluster) -> None:
        """Write down who is revoked where that is not written, without those that need not be any more."""
        stored, self._stored = self._stored, None
        if stored is None:
            return
        uids = {pod.metadata.uid for pod in cluster.pods.store.values()}
        needed = revocation.still_needed(self._signer.revocations, uids=uids, now=time.time())
        if needed != stored.revocations:
            await self._store.write_revocations(needed, version=stored.version)
            self._signer.revocations = needed

    def _tell(self, what: str, why: str) -> None:
        if why != self._told.get(what, ""):
            self._told[what] = why
            if why:
                _log.warning("%s", why)


def _lines(cluster: Cluster) -> Iterator[tuple[str, str, ConnectedGateway]]:
    """All gateways that have not ended, also those that have not said a word yet: pod, its uid, and the line."""
    for key, seen in list(cluster.pods.store.items()):
        if cluster.pod(key) is None or seen.status.phase not in {"Running", "Pending"}:
            continue
        memory = cluster.memory(key)
        for generation in generations(seen):
            if generation.terminated is None:
                yield key, seen.metadata.uid, memory.line(generation.number)
