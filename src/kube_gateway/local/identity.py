"""Who the pods of this machine are: the authority, its rotation, and revocations, for the manager.

Everything is in files of the instance, so a manager that was killed goes on where the last one was.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterable

import msgspec

from kube_gateway.control import trust
from kube_gateway.errors import IdentityError
from kube_gateway.identity import revocation, rotation
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.bundle import TrustBundle
from kube_gateway.identity.issuer import Issuer, RootIssuer
from kube_gateway.identity.revocation import Revocations
from kube_gateway.identity.roots import Roots, begin, moved, successor
from kube_gateway.identity.rotation import Holder, Waiting
from kube_gateway.local.authority_files import load_roots, save_roots
from kube_gateway.local.files import write_whole
from kube_gateway.local.instance import Instance
from kube_gateway.local.pods import LocalPod

_log = logging.getLogger("manager")


class LocalIdentity:
    """`life` is that of the gateways' certificates. Raises `IdentityError` when the authority is not sound."""

    def __init__(self, instance: Instance, *, life: datetime.timedelta) -> None:
        self._instance = instance
        self._life = life.total_seconds()
        self._waiting: tuple[Waiting, ...] = ()
        self._revocations = _load(instance)
        self._take(load_roots(instance.authority))

    def _take(self, roots: Roots) -> None:
        self.roots = roots
        self.issuer: Issuer = RootIssuer(roots.signer)
        self.bundle: TrustBundle = roots.bundle

    # Each round.

    def tend(self, pods: Iterable[LocalPod]) -> None:
        """Tell gateways what they do not know yet, and take the next step once all have taken the last one."""
        pods = tuple(pods)
        self._forget(pods)
        for pod in pods:
            uid = pod.workload.record.uid
            if self.is_revoked(uid):
                pod.gateway.close()
                continue
            for gateway in (pod.gateway, *pod.older.values()):
                trust.tell(gateway, roots=self.roots, revocations=self._revocations)
        if self.roots.rotation is not None:
            self._advance(self._holders(pods))

    def _holders(self, pods: tuple[LocalPod, ...]) -> tuple[Holder, ...]:
        gateways = [
            (pod.workload.record.pod.key, gateway)
            for pod in pods
            if not self.is_revoked(pod.workload.record.uid)
            for gateway in (pod.gateway, *pod.older.values())
            if gateway.generation and gateway.running
        ]
        found = (trust.holder(gateway, name=name, life=self._life) for name, gateway in gateways)
        return tuple(one for one in found if one is not None)

    def _advance(self, holders: tuple[Holder, ...]) -> None:
        before, now = self.roots.rotation, time.time()
        if before is None:
            return
        self._waiting = rotation.waits_for(before, holders, now=now)
        after = rotation.advance(before, holders, now=now)
        if after != before:
            self._move(after)

    def _move(self, after: rotation.Rotation | None) -> None:
        roots = moved(self.roots, after)
        save_roots(self._instance.authority, roots)
        self._take(roots)
        self._waiting = ()
        if after is None:
            _log.info("the root is %s, and no other", roots.current.fingerprint[:16])
        else:
            _log.info("rotation of the root: %s (%s replaces %s)", after.stage, after.new[:16], after.old[:16])

    # What the command line asks.

    def rotate(self, new: Authority | None = None) -> None:
        """Begin to replace the root. Raises `IdentityError`."""
        authority = new or successor(self.roots.current)
        roots = begin(self.roots, authority, now=time.time())
        save_roots(self._instance.authority, roots)
        self._take(roots)
        _log.info("rotation of the root: introduce (%s)", authority.fingerprint[:16])

    def abort(self) -> None:
        """Undo a rotation. Raises `IdentityError` when there is none, or no way back."""
        if self.roots.rotation is None:
            raise IdentityError("no rotation is under way", hint="kube-gateway ca rotate begins one")
        self._move(rotation.abort(self.roots.rotation, now=time.time()))

    @property
    def status(self) -> rotation.Status:
        """How far a rotation is."""
        return rotation.Status(
            root=self.roots.plan.signer, rotation=self.roots.rotation, waiting=self._waiting, told_at=time.time()
        )

    # Revocations.

    @property
    def revocations(self) -> Revocations:
        """Those in force."""
        return self._revocations

    def is_revoked(self, uid: str) -> bool:
        """Whether this pod is."""
        return revocation.is_revoked(self._revocations, uid)

    def check(self, uid: str, *, pod: str) -> None:
        """Raise `IdentityError` for a pod that is revoked."""
        if self.is_revoked(uid):
            raise IdentityError(f"the pod {pod} is revoked", hint=f"kube-gateway unrevoke {pod.rpartition('/')[2]}")

    def revoke(self, uid: str, *, pod: str) -> None:
        """Have nothing more to do with a pod. Raises `IdentityError` when that cannot be written down."""
        self._write(revocation.revoke(self._revocations, uid, pod=pod, life=self._life, now=time.time()))
        _log.info("revoked %s (%s)", pod or "a pod", uid)

    def restore(self, uid: str) -> None:
        """Take a pod back. Raises `IdentityError` when it is not revoked, or that cannot be written down."""
        if not self.is_revoked(uid):
            raise IdentityError(f"no pod with the uid {uid} is revoked", hint="kube-gateway revoke --list")
        self._write(revocation.restore(self._revocations, uid))
        _log.info("no longer revoked: %s", uid)

    def _forget(self, pods: tuple[LocalPod, ...]) -> None:
        uids = {pod.workload.record.uid for pod in pods}
        needed = revocation.still_needed(self._revocations, uids=uids, now=time.time())
        if needed != self._revocations:
            self._write(needed)

    def _write(self, revocations: Revocations) -> None:
        path = self._instance.revocations
        try:
            write_whole(path, msgspec.json.encode(revocations))
        except OSError as error:
            raise IdentityError(f"cannot write {path}: {error.strerror}") from error
        self._revocations = revocations


def _load(instance: Instance) -> Revocations:
    path = instance.revocations
    try:
        return msgspec.json.decode(path.read_bytes(), type=Revocations)
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        # Not as if nobody were revoked.
        raise IdentityError(f"{path} is not readable: {error}", hint="remove it if no pod shall be revoked") from error
