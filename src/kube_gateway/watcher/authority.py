"""The certificate authority as the watcher has it: a mounted Secret, which may come later than the watcher.

The mounted files are what a watcher begins with. What becomes of them while a root is replaced it reads from the API, as a
mounted file may be a minute old (see `watcher/identities.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.bundle import TrustBundle
from kube_gateway.identity.issuer import Issuer, RootIssuer
from kube_gateway.identity.revocation import Revocations, is_revoked
from kube_gateway.identity.roots import Roots
from kube_gateway.watcher.authority_data import KEYS, parse_roots


class Signer:
    """What certificates are issued with now, what peers shall trust, and who gets no certificate.

    `on_change` is called when another root signs, or others are trusted.
    """

    def __init__(self, roots: Roots) -> None:
        self.roots = roots
        self.issuer: Issuer = RootIssuer(roots.signer)
        self.bundle: TrustBundle = roots.bundle
        self.revocations: Revocations = ()
        self.on_change: Callable[[], None] = lambda: None

    @property
    def authority(self) -> Authority:
        """The root that signs, and its key."""
        return self.roots.signer

    def take(self, roots: Roots) -> None:
        """These are the roots from now on."""
        before, self.roots = self.roots, roots
        if (before.plan, before.bundle) != (roots.plan, roots.bundle):
            self.issuer, self.bundle = RootIssuer(roots.signer), roots.bundle
            self.on_change()

    def check(self, uid: str, *, pod: str) -> None:
        """Raise `IdentityError` for a pod that is revoked."""
        if is_revoked(self.revocations, uid):
            raise IdentityError(f"the pod {pod} is revoked", hint="kube-gateway unrevoke takes it back")


def load_signer(directory: Path, *, trust_domain: str | None) -> Signer:
    """Read the authority. Raises `IdentityError` when it is not there yet, or not sound."""
    data: dict[str, bytes] = {}
    missing = ""
    for key in KEYS:
        try:
            data[key] = (directory / key).read_bytes()
        except FileNotFoundError as error:
            missing = missing or f"{error.filename}: {error.strerror}"
        except OSError as error:
            raise IdentityError(f"cannot read {error.filename}: {error.strerror}") from None
    try:
        return Signer(parse_roots(data, trust_domain=trust_domain))
    except KeyError:
        raise IdentityError(
            f"there is no certificate authority ({missing})", hint="kube-gateway ca create, then kube-gateway ca load"
        ) from None
