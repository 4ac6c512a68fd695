"""The authority of a trust domain, and the one that takes its place while a root is replaced; which of them does what.

`identity/rotation.py` decides by fingerprints; here are the roots and keys that these stand for.
"""

from __future__ import annotations

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import Authority, new_authority
from kube_gateway.identity.bundle import TrustBundle, trust_bundle
from kube_gateway.identity.rotation import Plan, Rotation, plan


class Roots(msgspec.Struct, frozen=True, kw_only=True):
    """`current` is the authority, `following` the one that replaces it during the first two steps of `rotation`.

    In the last step the new one is `current`, and nobody has the key of the old one any more.
    """

    current: Authority
    following: Authority | None = None
    rotation: Rotation | None = None

    @property
    def plan(self) -> Plan:
        """What signs and what is trusted now."""
        if self.rotation is None:
            return Plan(signer=self.current.fingerprint, trusted=frozenset((self.current.fingerprint,)))
        return plan(self.rotation)

    @property
    def signer(self) -> Authority:
        """The authority that signs now."""
        return next(authority for authority in self._all if authority.fingerprint == self.plan.signer)

    @property
    def bundle(self) -> TrustBundle:
        """The roots that are trusted now."""
        trusted = self.plan.trusted
        return trust_bundle(authority for authority in self._all if authority.fingerprint in trusted)

    @property
    def _all(self) -> tuple[Authority, ...]:
        return (self.current,) if self.following is None else (self.current, self.following)


def successor(current: Authority) -> Authority:
    """Make a root that whoever takes `current` takes as well: it names the same trust domain, or, as that one, none.

    Whoever makes it need not know the trust domain: where the root names none, only those are told that use it.
    """
    return new_authority(current.trust_domain, named=current.names_trust_domain)


def begin(roots: Roots, new: Authority, *, now: float) -> Roots:
    """Begin to replace the root by `new`. Raises `IdentityError` when that cannot be."""
    if roots.rotation is not None:
        raise IdentityError(
            f"a rotation is under way already, in the step {roots.rotation.stage}",
            hint="kube-gateway ca rotate --status shows whom it waits for, --abort undoes it",
        )
    if new.names_trust_domain and not roots.current.names_trust_domain:
        raise IdentityError(
            f"the root in use names no trust domain, and the new one names {new.trust_domain}: whether watchers would "
            "take it is not known here",
            hint="use a root that names none, or leave out --directory, and such a one is made",
        )
    if new.trust_domain != roots.current.trust_domain:
        raise IdentityError(
            f"the new root is of the trust domain {new.trust_domain}, not {roots.current.trust_domain}",
            hint="every SPIFFE id begins with the trust domain: it stays what it is",
        )
    if new.fingerprint == roots.current.fingerprint:
        raise IdentityError("this is the root that is in use already", hint="kube-gateway ca create makes another")
    rotation = Rotation(stage="introduce", old=roots.current.fingerprint, new=new.fingerprint, begun=now, changed=now)
    return Roots(current=roots.current, following=new, rotation=rotation)


def moved(roots: Roots, rotation: Rotation | None) -> Roots:
    """The roots once `rotation` (see `advance` and `abort`) is where the rotation is; None when it is over."""
    if rotation is None:
        return Roots(current=roots.current)
    if roots.following is None:
        return msgspec.structs.replace(roots, rotation=rotation)
    if rotation.stage == "retire":
        return Roots(current=roots.following, rotation=rotation)
    if rotation.old == roots.following.fingerprint:
        return Roots(current=roots.following, following=roots.current, rotation=rotation)
    return msgspec.structs.replace(roots, rotation=rotation)


def check(roots: Roots) -> None:
    """Raise `IdentityError` unless the roots are those that the rotation is of."""
    rotation = roots.rotation
    if rotation is None:
        return
    if rotation.stage == "retire":
        fits = roots.following is None and roots.current.fingerprint == rotation.new
    else:
        following = roots.following.fingerprint if roots.following is not None else ""
        fits = (roots.current.fingerprint, following) == (rotation.old, rotation.new)
    if not fits:
        raise IdentityError(
            "the roots are not those of the rotation that is under way",
            hint="somebody has replaced one of them by hand; put back what was there",
        )
