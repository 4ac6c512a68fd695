"""Another issuer takes the place of ours without a change to its callers: here one that signs with an intermediate."""

from __future__ import annotations

import asyncio
import datetime
import ssl

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kube_gateway import _native
from kube_gateway.control.certifying import certify
from kube_gateway.control.messages import CertificateRequest
from kube_gateway.control.tls import client_context, names_of_peer, server_context
from kube_gateway.gateway.certificate import CertificateKeeper, Identity
from kube_gateway.gateway.identity_use import described
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.bundle import TrustBundle, trust_bundle
from kube_gateway.identity.issuer import IssuedCertificate, Issuer, RootIssuer
from kube_gateway.model.pod import Pod

HOUR = datetime.timedelta(hours=1)
POD = Pod(name="web", uid="uid-web", namespace="shop", service_account="web", addresses=("127.0.0.1",))


def signed(name: str, key: ec.EllipticCurvePrivateKey, *, by: Authority | None = None) -> x509.Certificate:
    """An authority's certificate, signed by itself unless `by` another."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = by.key if by is not None else key
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + 10 * HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1 if by is None else 0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


class IntermediateIssuer:
    """Has the root's key never: it signs with one below it, and gives that out with each leaf."""

    def __init__(self, root: Authority) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        below = signed("below", key, by=root)
        self._signer = RootIssuer(Authority(below, key, trust_domain=root.trust_domain))
        self._below = below.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def trust_domain(self) -> str:
        return self._signer.trust_domain

    def sign(self, request: str, *, pod: Pod, life: datetime.timedelta, now=None) -> IssuedCertificate:
        issued = self._signer.sign(request, pod=pod, life=life, now=now)
        return msgspec.structs.replace(issued, chain=issued.chain + self._below)


@pytest.fixture(scope="module")
def root() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(signed("root", key), key, trust_domain="example.org")


def identity(issuer: Issuer, bundle: TrustBundle) -> Identity:
    """By the way that every gateway's takes: request, watcher, keeper."""
    keeper: CertificateKeeper

    def request(asked: CertificateRequest) -> bool:
        keeper.issued(certify(asked, pod=POD, issuer=issuer, bundle=bundle, life=HOUR))
        return True

    keeper = CertificateKeeper(request=request, use=lambda: None)

    async def once() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await keeper.run()

    asyncio.run(once())
    assert keeper.current is not None
    return keeper.current


def handshake(client: Identity, server: Identity) -> None:
    """In memory; both sides check the other."""
    contexts = [
        make(chain=one.chain, key=one.key, trust_bundle=one.trust_bundle)
        for make, one in ((client_context, client), (server_context, server))
    ]
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [contexts[0].wrap_bio(a, b), contexts[1].wrap_bio(b, a, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for end in ends:
        assert names_of_peer(end).spiffe_id == "spiffe://example.org/ns/shop/sa/web"


def test_certificates_of_an_intermediate_are_taken_by_peers_that_trust_the_root(root):
    bundle = trust_bundle([root])
    ours, theirs = identity(RootIssuer(root), bundle), identity(IntermediateIssuer(root), bundle)
    for client, server in ((ours, theirs), (theirs, ours), (theirs, theirs)):
        handshake(client, server)


def test_what_is_reported_of_them_is_the_root(root):
    bundle = trust_bundle([root])
    for issuer in (RootIssuer(root), IntermediateIssuer(root)):
        said = described(identity(issuer, bundle))
        assert (said.issuer, said.roots, said.trust_generation) == (
            root.fingerprint,
            (root.fingerprint,),
            bundle.generation,
        )
        assert (said.uid, said.addresses) == (POD.uid, POD.addresses)


def test_of_two_roots_with_one_name_the_one_that_signed_is_reported():
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    roots = [Authority(signed("root", key), key, trust_domain="example.org") for key in keys]
    bundle = trust_bundle(roots)
    for one in roots:
        said = described(identity(RootIssuer(one), bundle))
        assert said.issuer == one.fingerprint
        assert set(said.roots) == {root.fingerprint for root in roots}


def test_the_serial_that_is_reported_is_the_one_that_was_issued(root):
    issuer, bundle = RootIssuer(root), trust_bundle([root])
    for _ in range(30):
        _, request = _native.create_key_and_request()
        told = certify(CertificateRequest(number=1, csr=request), pod=POD, issuer=issuer, bundle=bundle, life=HOUR)
        said = described(
            Identity(chain=told.chain, key="", trust_bundle=bundle.pem, trust_domain="example.org", expires=0.0)
        )
        assert said.serial == told.serial


def test_a_root_that_is_not_in_the_bundle_is_not_named(root):
    key = ec.generate_private_key(ec.SECP256R1())
    other = Authority(signed("root", key), key, trust_domain="example.org")
    assert described(identity(RootIssuer(root), trust_bundle([other]))).issuer == ""
