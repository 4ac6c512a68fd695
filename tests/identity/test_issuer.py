"""Certificates for workloads: the watcher's names, the requester's key, nothing else of the request."""

from __future__ import annotations

import base64
import datetime
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from kube_gateway import _native
from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import create_authority
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod

HOUR = datetime.timedelta(hours=1)
POD = Pod(name="web", uid="1", namespace="shop", service_account="front", addresses=("10.0.0.2", "fd00::2"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("ca"), trust_domain="example.org")


@pytest.fixture(scope="module")
def issuer(authority):
    return RootIssuer(authority)


def request(key=None, *, names=(), sign_with=None) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "admin")])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(sign_with or key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def leaf(issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.chain.encode())


def test_names_are_the_pods_and_not_those_of_the_request(issuer):
    wanted = [x509.DNSName("admin"), x509.UniformResourceIdentifier("spiffe://example.org/ns/x/sa/admin")]
    issued = issuer.sign(request(names=wanted), pod=POD, life=HOUR)
    certificate = leaf(issued)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert list(names.value) == [
        x509.UniformResourceIdentifier("spiffe://example.org/ns/shop/sa/front"),
        x509.IPAddress(ipaddress.ip_address("10.0.0.2")),
        x509.IPAddress(ipaddress.ip_address("fd00::2")),
    ]
    assert certificate.subject == x509.Name([x509.NameAttribute(NameOID.USER_ID, POD.uid)])
    assert issued.spiffe_id == "spiffe://example.org/ns/shop/sa/front"


def test_a_leaf_may_prove_both_sides_and_sign_nothing(issuer, authority):
    certificate = leaf(issuer.sign(request(), pod=POD, life=HOUR))
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    certificate.verify_directly_issued_by(authority.certificate)


def test_a_request_of_the_gateway_itself_is_certified(issuer):
    _, made = _native.create_key_and_request()
    assert leaf(issuer.sign(made, pod=POD, life=HOUR)).public_key() is not None


def test_serials_are_unique(issuer):
    serials = {issuer.sign(request(), pod=POD, life=HOUR).serial for _ in range(50)}
    assert len(serials) == 50
    assert min(serials) > 1 << 64


def test_life_is_what_was_asked_for_with_room_for_another_clock(issuer):
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    issued = issuer.sign(request(), pod=POD, life=HOUR, now=now)
    certificate = leaf(issued)
    assert certificate.not_valid_before_utc == now - datetime.timedelta(minutes=1)
    assert certificate.not_valid_after_utc == now + HOUR
    assert issued.expires == (now + HOUR).timestamp()


def test_a_leaf_does_not_outlive_its_root(issuer, authority):
    issued = issuer.sign(request(), pod=POD, life=datetime.timedelta(days=9999))
    assert leaf(issued).not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_an_expired_root_certifies_nobody(issuer, authority):
    later = authority.certificate.not_valid_after_utc + datetime.timedelta(days=1)
    with pytest.raises(IdentityError, match="expired on"):
        issuer.sign(request(), pod=POD, life=HOUR, now=later)


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())], ids=["RSA", "P-384"]
)
def test_only_p256_keys_are_certified(issuer, key):
    with pytest.raises(IdentityError, match="not ECDSA P-256"):
        issuer.sign(request(key), pod=POD, life=HOUR)


def test_a_request_that_was_changed_is_refused(issuer):
    genuine = x509.load_pem_x509_csr(request().encode()).public_bytes(serialization.Encoding.DER)
    forged = genuine.replace(b"admin", b"root!")
    pem = x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(IdentityError, match="not signed by its own key"):
        issuer.sign(pem, pod=POD, life=HOUR)


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END-----"])
def test_a_request_that_is_none_is_refused(issuer, text):
    with pytest.raises(IdentityError, match="not readable"):
        issuer.sign(text, pod=POD, life=HOUR)


def test_a_pod_without_address_gets_none(issuer):
    with pytest.raises(IdentityError, match="no address"):
        issuer.sign(request(), pod=Pod(name="new", uid="2"), life=HOUR)


def a_request_with(position, value):
    _, request = _native.create_key_and_request()
    der = bytearray(base64.b64decode("".join(request.splitlines()[1:-1])))
    der[position % len(der)] = value
    text = base64.encodebytes(bytes(der)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 400), st.integers(0, 255))
def test_a_request_with_any_byte_changed_is_refused_or_harmless(issuer, position, value):
    """What one gateway sends must not end the watcher of all."""
    try:
        issued = issuer.sign(a_request_with(position, value), pod=POD, life=HOUR)
    except IdentityError:
        return
    assert issued.spiffe_id.endswith("/sa/" + POD.service_account)
