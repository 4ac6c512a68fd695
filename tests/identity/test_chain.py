"""Issued certificates as verifiers that are not ours see them."""

from __future__ import annotations

import datetime
import ipaddress
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification
from hypothesis import given
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
    return create_authority(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def issued(authority):
    return RootIssuer(authority).sign(_native.create_key_and_request()[1], pod=POD, life=HOUR)


def verified(
    chain: str, root: x509.Certificate, *, after: datetime.timedelta = HOUR / 2
) -> verification.VerifiedClient:
    verifier = verification.PolicyBuilder().store(verification.Store([root]))
    moment = datetime.datetime.now(datetime.UTC) + after
    # Roots of this product are known by name and key alone, without an authority key identifier of their own.
    return verifier.time(moment).build_client_verifier().verify(x509.load_pem_x509_certificate(chain.encode()), [])


def openssl(tmp_path, chain: str, root: str, *options: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "leaf.pem").write_text(chain)
    (tmp_path / "root.pem").write_text(root)
    line = ["openssl", "verify", "-x509_strict", "-CAfile", "root.pem", *options, "leaf.pem"]
    return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("address", POD.addresses)
def test_openssl_accepts_it_on_both_sides_for_each_address(tmp_path, authority, issued, purpose, address):
    options = ("-purpose", purpose, "-verify_ip", address)
    done = openssl(tmp_path, issued.chain, authority.certificate_pem, *options)
    assert done.returncode == 0, done.stderr


def test_openssl_refuses_it_for_an_address_of_another(tmp_path, authority, issued):
    done = openssl(tmp_path, issued.chain, authority.certificate_pem, "-verify_ip", "10.0.0.3")
    assert done.returncode != 0
    assert "IP address mismatch" in done.stderr


def test_openssl_refuses_it_under_another_root_of_the_same_name(tmp_path, issued):
    other = create_authority(tmp_path / "other")
    assert openssl(tmp_path, issued.chain, other.certificate_pem).returncode != 0


def test_a_leaf_cannot_certify_others(tmp_path, authority):
    key, request = _native.create_key_and_request()
    leaf = RootIssuer(authority).sign(request, pod=POD, life=HOUR)
    impostor = type(authority)(
        x509.load_pem_x509_certificate(leaf.chain.encode()),
        serialization.load_pem_private_key(key.encode(), password=None),
        trust_domain=authority.trust_domain,
    )
    issuer = RootIssuer(authority)
    issuer._authority = impostor
    forged = issuer.sign(_native.create_key_and_request()[1], pod=POD, life=HOUR)
    (tmp_path / "between.pem").write_text(leaf.chain)
    done = openssl(tmp_path, forged.chain, authority.certificate_pem, "-untrusted", "between.pem")
    assert done.returncode != 0


def test_the_chain_is_the_leaf_and_carries_no_key(issued):
    assert issued.chain.count("BEGIN CERTIFICATE") == 1
    assert "PRIVATE" not in issued.chain


def test_what_is_told_of_a_certificate_is_what_it_holds(issued):
    certificate = x509.load_pem_x509_certificate(issued.chain.encode())
    assert issued.serial == certificate.serial_number
    assert issued.expires == certificate.not_valid_after_utc.timestamp()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [issued.spiffe_id]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(text) for text in POD.addresses]


def test_only_signatures_and_nothing_else_may_be_made_with_a_leafs_key(issued):
    certificate = x509.load_pem_x509_certificate(issued.chain.encode())
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert not (usage.value.key_cert_sign or usage.value.crl_sign or usage.value.key_agreement)


@pytest.mark.parametrize("account", ["", "a/sa/b", "..", "a b", "ä", "a\n"])
def test_a_service_account_that_would_change_the_id_is_not_certified(authority, account):
    pod = Pod(name="web", uid="1", service_account=account, addresses=("10.0.0.2",))
    with pytest.raises(IdentityError):
        RootIssuer(authority).sign(_native.create_key_and_request()[1], pod=pod, life=HOUR)


@given(text=st.text(max_size=200))
def test_any_text_as_request_is_refused_in_words(authority, text):
    with pytest.raises(IdentityError):
        RootIssuer(authority).sign(text, pod=POD, life=HOUR)


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_request_with_one_byte_changed_never_gets_other_names(authority, position, flip):
    request = x509.load_pem_x509_csr(_native.create_key_and_request()[1].encode())
    raw = bytearray(request.public_bytes(serialization.Encoding.DER))
    raw[-1 - position % 32] ^= flip
    try:
        changed = x509.load_der_x509_csr(bytes(raw)).public_bytes(serialization.Encoding.PEM).decode()
    except ValueError:
        return
    with pytest.raises(IdentityError):
        RootIssuer(authority).sign(changed, pod=POD, life=HOUR)
