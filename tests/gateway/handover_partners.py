"""Gateways of one pod, and others, for tests of a hand-over."""

from __future__ import annotations

import datetime
import socket
import time

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kube_gateway import _native
from kube_gateway.control.tls import client_context, server_context
from kube_gateway.gateway.certificate import Identity
from kube_gateway.gateway.handover.channel import Channel
from kube_gateway.gateway.handover.own import Own
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod

ADDRESSES = ("10.89.0.2", "fd89::2")
UID = "uid-1"


def gateway(
    authority: Authority, *, generation: int, addresses: tuple[str, ...] = ADDRESSES, account: str = "default"
) -> Own:
    """A gateway of the pod, or of another if something differs."""
    key, request = _native.create_key_and_request()
    pod = Pod(name="pod", uid=UID, service_account=account, addresses=addresses)
    issued = RootIssuer(authority).sign(request, pod=pod, life=datetime.timedelta(hours=1))
    identity = Identity(
        chain=issued.chain,
        key=key,
        trust_bundle=authority.certificate_pem,
        trust_domain=authority.trust_domain,
        expires=issued.expires,
    )
    return Own(identity=identity, addresses=addresses, uid=UID, generation=generation, cgroup=100 + generation)


def with_user(own: Own, authority: Authority, uid: str) -> Own:
    """The same with a certificate whose subject names a pod's uid."""
    key, request = _native.create_key_and_request()
    old = x509.load_pem_x509_certificate(own.identity.chain.encode())
    public = x509.load_pem_x509_csr(request.encode()).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.USER_ID, uid)]))
        .issuer_name(authority.certificate.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    chain = builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    identity = msgspec.structs.replace(own.identity, chain=chain, key=key, expires=time.time() + 3600)
    return msgspec.structs.replace(own, identity=identity)


def channel(connection: socket.socket, own: Own, *, server: bool) -> Channel:
    """That gateway's end of a connection."""
    identity = own.identity
    make = server_context if server else client_context
    context = make(chain=identity.chain, key=identity.key, trust_bundle=identity.trust_bundle)
    return Channel(connection, context, server=server)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection that keeps packets."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
