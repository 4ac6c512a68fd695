"""The trust bundle: the roots that peers may come from. Two of them side by side while a root is replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from kube_gateway.identity.authority import Authority


class TrustBundle(msgspec.Struct, frozen=True):
    """`pem` holds all roots; `generation` is the same for the same set of roots and differs for another."""

    pem: str
    generation: int


def trust_bundle(authorities: Iterable[Authority]) -> TrustBundle:
    """Return the bundle of the roots of `authorities`, in an order of its own."""
    roots = {authority.fingerprint: authority.certificate_pem for authority in authorities}
    return TrustBundle(pem="".join(roots[key] for key in sorted(roots)), generation=trust_generation(roots))


def trust_generation(fingerprints: Iterable[str]) -> int:
    """The generation of a bundle of roots with these fingerprints (SHA-256, hexadecimal)."""
    digest = hashlib.sha256("".join(sorted(set(fingerprints))).encode()).digest()
    return int.from_bytes(digest[:6], "big")
