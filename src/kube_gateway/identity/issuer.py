"""Certificates for workloads: short lives, names that the watcher knows, keys that it never sees.

Whoever needs certificates knows `Issuer` alone. `RootIssuer` signs with a root that the watcher holds; one that asks
another authority, or signs with an intermediate, has the same members and takes its place without a change to its callers.
"""

from __future__ import annotations

import datetime
import ipaddress
from typing import Protocol

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.spiffe import spiffe_id_of
from kube_gateway.model.pod import Pod

_SKEW = datetime.timedelta(minutes=1)
"""Clocks of two nodes differ: a certificate is valid a little before it is made."""


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """`chain` is PEM, leaf first; `expires` is seconds since the epoch."""

    chain: str
    expires: float
    serial: int
    spiffe_id: str


class Issuer(Protocol):
    """Certifies the keys of workloads of one trust domain."""

    @property
    def trust_domain(self) -> str:
        """First part of every SPIFFE id."""

    def sign(
        self, request: str, *, pod: Pod, life: datetime.timedelta, now: datetime.datetime | None = None
    ) -> IssuedCertificate:
        """Certify the public key of a PEM signing request for `pod`, for `life` at most.

        Nothing else of the request counts: SPIFFE id and addresses are those of the pod, whose uid is in the subject (as
        userId, RFC 4519). The chain ends below a root of the trust bundle that the issuer's watcher gives out. Raises
        `IdentityError` when nothing can be certified.
        """


class RootIssuer:
    """Signs with the root of one authority."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.trust_domain = authority.trust_domain

    def sign(
        self, request: str, *, pod: Pod, life: datetime.timedelta, now: datetime.datetime | None = None
    ) -> IssuedCertificate:
        """Certify the public key of a PEM signing request for `pod`.

        Nothing else of the request counts: SPIFFE id and addresses are those of the pod, whose uid is in the subject (as
        userId, RFC 4519), as another pod may have the same id and, later, the same address. Raises `IdentityError` when the
        request is malformed, not signed by its own key, or its key is not ECDSA P-256, when the pod has no address, or
        when the root has expired.
        """
        key = _public_key(request)
        if not pod.addresses:
            raise IdentityError(f"the pod {pod.key} has no address yet")
        moment = now or datetime.datetime.now(datetime.UTC)
        root = self._authority.certificate
        expires = min(moment + life, root.not_valid_after_utc)
        if expires <= moment:
            raise IdentityError(
                f"the root certificate of {self.trust_domain} expired on {root.not_valid_after_utc:%Y-%m-%d}",
                hint="check the clock, or create a new authority",
            )
        spiffe_id = str(spiffe_id_of(pod, trust_domain=self.trust_domain))
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(spiffe_id)]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in pod.addresses]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.USER_ID, pod.uid)]))
            .issuer_name(root.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - _SKEW)
            .not_valid_after(expires)
            # Critical: who it is stands in there, not in the subject.
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_LEAF_USAGE, critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._authority.key.public_key()), critical=False
            )
            .sign(self._authority.key, hashes.SHA256())
        )
        return IssuedCertificate(
            chain=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            expires=certificate.not_valid_after_utc.timestamp(),
            serial=certificate.serial_number,
            spiffe_id=spiffe_id,
        )


_LEAF_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _public_key(request: str) -> ec.EllipticCurvePublicKey:
    try:
        parsed = x509.load_pem_x509_csr(request.encode())
        key = parsed.public_key()
        signed = parsed.is_signature_valid
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise IdentityError(f"the signing request is not readable: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError("the signing request's key is not ECDSA P-256")
    if not signed:
        raise IdentityError("the signing request is not signed by its own key")
    return key
