"""The certificate authority: one ECDSA P-256 root whose key only the watcher reads.

A key in a file that others can read is no secret, so such a file is refused rather than used. Files are written whole or
not at all, and never over others.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kube_gateway.errors import IdentityError
from kube_gateway.identity.spiffe import DEFAULT_TRUST_DOMAIN, check_trust_domain

CERTIFICATE_FILE = "ca.crt"
KEY_FILE = "ca.key"

_LIFE = datetime.timedelta(days=3650)
_SKEW = datetime.timedelta(minutes=1)


class Authority:
    """A root certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def certificate_pem(self) -> str:
        """The root as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root's DER form, in hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    @property
    def trust_domain(self) -> str:
        """The trust domain that the root was made for."""
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        return uri.removeprefix("spiffe://")


def create_authority(
    directory: Path, *, trust_domain: str = DEFAULT_TRUST_DOMAIN, now: datetime.datetime | None = None
) -> Authority:
    """Create `ca.crt` and `ca.key` in `directory` (made if missing) and return the authority.

    Raises `IdentityError` when either file is there already, or cannot be written; nothing half-made is left.
    """
    check_trust_domain(trust_domain)
    certificate_path, key_path = directory / CERTIFICATE_FILE, directory / KEY_FILE
    for path in (certificate_path, key_path):
        if path.exists():
            raise IdentityError(
                f"{path} exists, and replacing an authority cuts off every workload it certified",
                hint="choose another directory, or remove the old authority yourself",
            )
    authority = _new_authority(trust_domain, now or datetime.datetime.now(datetime.UTC))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(key_path, _key_pem(authority.key))
        try:
            _write_new(certificate_path, authority.certificate_pem.encode())
        except BaseException:
            key_path.unlink()
            raise
    except OSError as error:
        raise IdentityError(f"cannot write the authority to {directory}: {error.strerror}") from error
    return authority


def load_authority(directory: Path, *, now: datetime.datetime | None = None) -> Authority:
    """Load the authority in `directory`. Raises `IdentityError` when it is missing, open to others, or not sound."""
    key_path = directory / KEY_FILE
    try:
        certificate_pem = (directory / CERTIFICATE_FILE).read_bytes()
        mode = key_path.stat().st_mode & 0o777
        key_pem = key_path.read_bytes()
    except FileNotFoundError as error:
        raise IdentityError(
            f"there is no certificate authority in {directory} ({Path(error.filename).name} is missing)",
            hint=f"kube-gateway ca create --directory {directory}",
        ) from None
    except OSError as error:
        raise IdentityError(f"cannot read the certificate authority in {directory}: {error.strerror}") from error
    if mode & 0o077:
        raise IdentityError(f"{key_path} can be read by others (mode {mode:03o})", hint=f"chmod 600 {key_path}")
    authority = _parse(certificate_pem, key_pem, directory)
    moment = now or datetime.datetime.now(datetime.UTC)
    if not authority.certificate.not_valid_before_utc <= moment <= authority.certificate.not_valid_after_utc:
        raise IdentityError(
            f"the root certificate in {directory} is valid from {authority.certificate.not_valid_before_utc:%Y-%m-%d} "
            f"to {authority.certificate.not_valid_after_utc:%Y-%m-%d}",
            hint="check the clock, or create a new authority in another directory",
        )
    return authority


def _parse(certificate_pem: bytes, key_pem: bytes, directory: Path) -> Authority:
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        raise IdentityError(f"{directory / CERTIFICATE_FILE} holds no readable certificate") from None
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise IdentityError(f"{directory / KEY_FILE} holds no readable private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IdentityError(f"{directory / KEY_FILE} is not an ECDSA P-256 key")
    if key.public_key() != certificate.public_key():
        raise IdentityError(f"{KEY_FILE} and {CERTIFICATE_FILE} in {directory} do not belong together")
    _check_root(certificate, directory / CERTIFICATE_FILE)
    return Authority(certificate, key)


def _check_root(certificate: x509.Certificate, path: Path) -> None:
    """Refuse a certificate that peers would not take for a root, or that says nothing of its trust domain."""
    hint = "use a root that kube-gateway ca create has made"
    try:
        extensions = certificate.extensions
        authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise IdentityError(f"{path} is not the root of a trust domain", hint=hint) from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not authority or len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise IdentityError(f"{path} is not the root of a trust domain", hint=hint)
    check_trust_domain(uris[0].removeprefix("spiffe://"))


def _new_authority(trust_domain: str, now: datetime.datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"kube-gateway root of {trust_domain}"[:64])])
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    uri = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, whole or not at all, never over another."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    finally:
        Path(name).unlink()
