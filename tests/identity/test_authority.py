"""The certificate authority: written whole, never over another, and not used when it is not a secret."""

from __future__ import annotations

import datetime
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import (
    CERTIFICATE_FILE,
    KEY_FILE,
    create_authority,
    load_authority,
    parse_authority,
)
from kube_gateway.identity.bundle import trust_bundle


def test_what_is_created_can_be_loaded(tmp_path):
    made = create_authority(tmp_path / "ca", trust_domain="example.org")
    loaded = load_authority(tmp_path / "ca")
    assert loaded.fingerprint == made.fingerprint
    assert loaded.trust_domain == "example.org"
    assert isinstance(loaded.key.curve, ec.SECP256R1)
    constraints = loaded.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = loaded.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature


def test_only_the_owner_reads_the_key(tmp_path):
    create_authority(tmp_path)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("present", [KEY_FILE, CERTIFICATE_FILE])
def test_nothing_is_overwritten(tmp_path, present):
    (tmp_path / present).write_text("precious")
    with pytest.raises(IdentityError, match="exists"):
        create_authority(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_text() == "precious"


def test_of_many_creations_at_once_one_wins_whole(tmp_path):
    results = []

    def create():
        try:
            results.append(create_authority(tmp_path).fingerprint)
        except IdentityError:
            results.append(None)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [result for result in results if result]
    assert winners == [load_authority(tmp_path).fingerprint]
    assert sorted(path.name for path in tmp_path.iterdir()) == [CERTIFICATE_FILE, KEY_FILE]


def test_a_missing_authority_says_how_to_make_one(tmp_path):
    with pytest.raises(IdentityError) as missing:
        load_authority(tmp_path)
    assert missing.value.hint == f"kube-gateway ca create --directory {tmp_path}"


def test_a_key_that_others_can_read_is_refused(tmp_path):
    create_authority(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(IdentityError) as refused:
        load_authority(tmp_path)
    assert refused.value.hint == f"chmod 600 {tmp_path / KEY_FILE}"


@pytest.mark.parametrize("name", [KEY_FILE, CERTIFICATE_FILE])
def test_a_file_that_is_no_pem_is_named(tmp_path, name):
    create_authority(tmp_path)
    (tmp_path / name).write_text("not PEM")
    with pytest.raises(IdentityError, match=name):
        load_authority(tmp_path)


def test_key_and_certificate_must_belong_together(tmp_path):
    create_authority(tmp_path / "a")
    create_authority(tmp_path / "b")
    (tmp_path / "a" / KEY_FILE).write_bytes((tmp_path / "b" / KEY_FILE).read_bytes())
    with pytest.raises(IdentityError, match="do not belong together"):
        load_authority(tmp_path / "a")


def _write(directory, *, curve=ec.SECP256R1, ca=True, uris=("spiffe://example.org",)):
    """An authority that kube-gateway did not make."""
    key = ec.generate_private_key(curve())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    (directory / CERTIFICATE_FILE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / KEY_FILE).touch(0o600)
    (directory / KEY_FILE).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_a_root_made_by_others_is_taken_when_it_is_sound(tmp_path):
    _write(tmp_path)
    assert load_authority(tmp_path).trust_domain == "example.org"


@pytest.mark.parametrize(
    "key",
    [["ecparam", "-name", "prime256v1", "-genkey", "-noout"], ["ecparam", "-name", "secp384r1", "-genkey"], ["genrsa"]],
    ids=["p256", "p384", "rsa"],
)
def test_a_root_made_by_openssl_serves_the_trust_domain_that_is_said(tmp_path, key):
    certificate_path, key_path = tmp_path / CERTIFICATE_FILE, tmp_path / KEY_FILE
    subprocess.run(["openssl", *key, "-out", key_path], check=True, capture_output=True)
    root = ["openssl", "req", "-new", "-x509", "-days", "3650", "-subj", "/CN=root", "-key", key_path]
    subprocess.run([*root, "-out", certificate_path], check=True, capture_output=True)
    key_path.chmod(0o600)
    assert load_authority(tmp_path).trust_domain == "cluster.local"
    files = (certificate_path.read_bytes(), key_path.read_bytes())
    authority = parse_authority(*files, names=("ca-cert", "ca-key"), trust_domain="shop.example")
    assert authority.trust_domain == "shop.example"


def test_a_root_that_names_another_trust_domain_than_is_wanted_is_refused(tmp_path):
    _write(tmp_path)
    files = ((tmp_path / CERTIFICATE_FILE).read_bytes(), (tmp_path / KEY_FILE).read_bytes())
    with pytest.raises(IdentityError, match=r"root of the trust domain example\.org, and shop\.example is wanted"):
        parse_authority(*files, names=("ca-cert", "ca-key"), trust_domain="shop.example")
    assert (
        parse_authority(*files, names=("ca-cert", "ca-key"), trust_domain="example.org").trust_domain == "example.org"
    )


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"curve": ec.SECP224R1}, "is neither an ECDSA key"),
        ({"ca": False}, "is not a root certificate"),
        ({"uris": ("spiffe://a", "spiffe://b")}, "is the root of the trust domain a and b"),
        ({"uris": ("spiffe://example.org/ns/a/sa/b",)}, "is not a trust domain"),
    ],
    ids=str,
)
def test_a_root_made_by_others_that_is_not_sound_is_refused(tmp_path, made, words):
    _write(tmp_path, **made)
    with pytest.raises(IdentityError, match=words):
        load_authority(tmp_path)


def test_an_expired_root_is_refused(tmp_path):
    create_authority(tmp_path)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3660)
    with pytest.raises(IdentityError, match="valid from"):
        load_authority(tmp_path, now=later)


def test_a_trust_domain_is_checked_before_anything_is_written(tmp_path):
    with pytest.raises(IdentityError):
        create_authority(tmp_path / "ca", trust_domain="Not a domain")
    assert not (tmp_path / "ca").exists()


def test_a_bundle_is_known_by_its_roots_whatever_their_order(tmp_path):
    a, b = create_authority(tmp_path / "a"), create_authority(tmp_path / "b")
    assert trust_bundle([a, b]) == trust_bundle([b, a, a])
    assert trust_bundle([a]).generation != trust_bundle([a, b]).generation
    assert trust_bundle([a, b]).pem.count("BEGIN CERTIFICATE") == 2
