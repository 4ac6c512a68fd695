"""The certificate authority: a root whose key only the watcher reads.

Ours is ECDSA P-256 and names its trust domain. One made by other tools (openssl, say) will do as well if its key is
ECDSA or RSA; what trust domain it is for has to be said where it does not.

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
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kube_gateway.errors import IdentityError
from kube_gateway.identity.spiffe import DEFAULT_TRUST_DOMAIN, check_trust_domain

CERTIFICATE_FILE = "ca.crt"
KEY_FILE = "ca.key"

_LIFE = datetime.timedelta(days=3650)
_SKEW = datetime.timedelta(minutes=1)
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_SHORTEST_RSA = 2048

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """A root certificate and its key, for one trust domain."""

    def __init__(self, certificate: x509.Certificate, key: PrivateKey, *, trust_domain: str) -> None:
        self.certificate = certificate
        self.key = key
        self.trust_domain = trust_domain

    @property
    def names_trust_domain(self) -> bool:
        """Whether the root itself says of which trust domain it is; if not, only whoever is told knows."""
        return bool(_named(self.certificate))

    @property
    def certificate_pem(self) -> str:
        """The root as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> str:
        """The key as PEM (PKCS #8), not encrypted: for what keeps it secret."""
        return _key_pem(self.key).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root's DER form, in hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()


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
    authority = new_authority(trust_domain, now=now)
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
    names = (str(directory / CERTIFICATE_FILE), str(directory / KEY_FILE))
    return parse_authority(certificate_pem, key_pem, names=names, now=now)


def parse_authority(
    certificate_pem: bytes,
    key_pem: bytes,
    *,
    names: tuple[str, str],
    trust_domain: str | None = None,
    now: datetime.datetime | None = None,
) -> Authority:
    """Return the authority that these two make; `names` says where they come from, in messages.

    `trust_domain` is for a root that names none; one that names another is refused. Raises `IdentityError` when they are
    not a root and its key, or the root is not valid now.
    """
    certificate_name, key_name = names
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        raise IdentityError(f"{certificate_name} holds no readable certificate") from None
    key = _parse_key(key_pem, key_name)
    if key.public_key() != certificate.public_key():
        raise IdentityError(f"{key_name} and {certificate_name} do not belong together")
    _check_root(certificate, certificate_name)
    domain = _trust_domain(certificate, certificate_name, wanted=trust_domain)
    not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not not_before <= (now or datetime.datetime.now(datetime.UTC)) <= not_after:
        raise IdentityError(
            f"the root certificate {certificate_name} is valid from {not_before:%Y-%m-%d} to {not_after:%Y-%m-%d}",
            hint="check the clock, or create a new authority in another directory",
        )
    return Authority(certificate, key, trust_domain=domain)


def _parse_key(key_pem: bytes, name: str) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise IdentityError(f"{name} holds no readable private key") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _SHORTEST_RSA:
        return key
    raise IdentityError(
        f"{name} is neither an ECDSA key (P-256, P-384) nor an RSA key of at least {_SHORTEST_RSA} bits",
        hint="openssl ecparam -name prime256v1 -genkey -noout -out ca.key",
    )


def _check_root(certificate: x509.Certificate, name: str) -> None:
    """Refuse a certificate that peers would not take for a root."""
    try:
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        is_authority = False
    if not is_authority:
        raise IdentityError(
            f"{name} is not a root certificate: it may not sign others",
            hint="use one that kube-gateway ca create, or openssl req -new -x509, has made",
        )


def _trust_domain(certificate: x509.Certificate, name: str, *, wanted: str | None) -> str:
    try:
        named = _named(certificate)
    except (x509.DuplicateExtension, ValueError):
        raise IdentityError(f"{name} has names that are not readable") from None
    if len(named) > 1 or (named and wanted not in (None, named[0])):
        raise IdentityError(
            f"{name} is the root of the trust domain {' and '.join(named)}, and {wanted or 'one'} is wanted",
            hint="say the same trust domain, or use another root",
        )
    domain = named[0] if named else wanted or DEFAULT_TRUST_DOMAIN
    check_trust_domain(domain)
    return domain


def _named(certificate: x509.Certificate) -> list[str]:
    """The trust domains that a root names."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return [uri.removeprefix("spiffe://") for uri in uris if uri.startswith("spiffe://")]


def new_authority(trust_domain: str, *, named: bool = True, now: datetime.datetime | None = None) -> Authority:
    """Make a root and its key, for ten years; they are in memory only. `named`: it names its trust domain."""
    now = now or datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    common_name = f"kube-gateway root of {trust_domain}" if named else "kube-gateway root"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])
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
    builder = (
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
    )
    if named:
        uri = x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), critical=False)
    return Authority(builder.sign(key, hashes.SHA256()), key, trust_domain=trust_domain)


def _key_pem(key: PrivateKey) -> bytes:
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
