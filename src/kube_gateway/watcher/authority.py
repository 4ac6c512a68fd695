"""The certificate authority as the watcher has it: two files of a mounted Secret, which may come later than the watcher.

They are read once: a watcher has to be started again after its authority was replaced.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import Authority, parse_authority
from kube_gateway.identity.bundle import TrustBundle, trust_bundle
from kube_gateway.identity.issuer import Issuer
from kube_gateway.watcher.configuration import CERTIFICATE_KEY, PRIVATE_KEY_KEY


class Signer(msgspec.Struct, frozen=True, kw_only=True):
    """What certificates are issued with: the root and its key, what signs with them, and what peers shall trust."""

    authority: Authority
    issuer: Issuer
    bundle: TrustBundle


def load_signer(directory: Path, *, trust_domain: str | None) -> Signer:
    """Read the authority. Raises `IdentityError` when it is not there yet, or not sound."""
    files = (directory / CERTIFICATE_KEY, directory / PRIVATE_KEY_KEY)
    try:
        certificate, key = (file.read_bytes() for file in files)
    except OSError as error:
        raise IdentityError(
            f"there is no certificate authority ({error.filename}: {error.strerror})",
            hint="kube-gateway ca create, then kube-gateway ca load",
        ) from None
    names = (CERTIFICATE_KEY, PRIVATE_KEY_KEY)
    authority = parse_authority(certificate, key, names=names, trust_domain=trust_domain)
    return Signer(authority=authority, issuer=Issuer(authority), bundle=trust_bundle([authority]))
