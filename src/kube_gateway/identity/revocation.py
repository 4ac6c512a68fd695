"""Pods whose certificates count for nothing any more: who they are, and for how long that has to be remembered. Pure.

Certificates are short-lived, so there is no list that workloads would have to ask for: a pod that is revoked is certified
no more, and every gateway is told its uid until the last certificate that it may have has expired.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """`pod` is for people (`namespace/name`, empty if it was not known). Times are seconds since the epoch: when it was
    revoked, and when the last certificate that it may have expires."""

    uid: str
    pod: str = ""
    since: float
    until: float


Revocations = tuple[Revocation, ...]


def revoke(revocations: Revocations, uid: str, *, pod: str, life: float, now: float) -> Revocations:
    """Add one; `life` is that of certificates, in seconds. One that is there stays as it is."""
    if is_revoked(revocations, uid):
        return revocations
    return (*revocations, Revocation(uid=uid, pod=pod, since=now, until=now + life))


def restore(revocations: Revocations, uid: str) -> Revocations:
    """Take one away."""
    return tuple(one for one in revocations if one.uid != uid)


def is_revoked(revocations: Revocations, uid: str) -> bool:
    """Whether this pod is."""
    return any(one.uid == uid for one in revocations)


def still_needed(revocations: Revocations, *, uids: Collection[str], now: float) -> Revocations:
    """Without those that can be forgotten: neither the pod (`uids` are those that are there) nor a certificate is left."""
    return tuple(one for one in revocations if one.uid in uids or now < one.until)
