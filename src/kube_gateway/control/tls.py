"""The stream between a gateway and the watcher of its cluster: TLS 1.3, certificates on both sides.

Both come from the cluster's own roots, and both sides check whom they speak to: the gateway that it is the watcher, by its
SPIFFE id; the watcher which pod's gateway it is. Host names play no part.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from typing import Any

import msgspec

from kube_gateway.errors import IdentityError


def client_context(*, chain: str, key: str, trust_bundle: str) -> ssl.SSLContext:
    """For the gateway's side. All PEM. Raises `IdentityError` when they are not sound."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, chain=chain, key=key, trust_bundle=trust_bundle)


def server_context(*, chain: str, key: str, trust_bundle: str) -> ssl.SSLContext:
    """For the watcher's side. All PEM. Raises `IdentityError` when they are not sound."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, chain=chain, key=key, trust_bundle=trust_bundle)
    # A resumed session would keep an old identity.
    context.num_tickets = 0
    return context


class PeerNames(msgspec.Struct, frozen=True, kw_only=True):
    """Who a certificate says its owner is: SPIFFE id, uid of the pod (empty if it does not say), addresses."""

    spiffe_id: str
    uid: str
    addresses: frozenset[str]

    def __str__(self) -> str:
        return f"{self.spiffe_id} ({self.uid or 'no uid'}) at {', '.join(sorted(self.addresses)) or 'no address'}"


def names_of_peer(connection: ssl.SSLObject) -> PeerNames:
    """Who the other side is, by its certificate, which TLS has verified. Raises `IdentityError` unless it has a SPIFFE id.

    Source: SPIFFE X.509-SVID, section 2: exactly one URI name.
    """
    certificate: Mapping[str, Any] = connection.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    if len(uris) != 1 or not uris[0].startswith("spiffe://"):
        raise IdentityError(f"the other side's certificate has the URI names {uris}, it must have one SPIFFE id")
    uids = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "userId"]
    addresses = frozenset(str(ipaddress.ip_address(value.strip())) for kind, value in names if kind == "IP Address")
    return PeerNames(spiffe_id=uris[0], uid=uids[0] if len(uids) == 1 else "", addresses=addresses)


def spiffe_id_of_peer(connection: ssl.SSLObject) -> str:
    """The SPIFFE id alone. Raises `IdentityError`."""
    return names_of_peer(connection).spiffe_id


def _context(protocol: int, *, chain: str, key: str, trust_bundle: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The ssl module takes keys from files only; this one is in memory, and nobody else's.
    file = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(file, (key + chain).encode())
        context.load_cert_chain(f"/proc/self/fd/{file}")
        context.load_verify_locations(cadata=trust_bundle)
    except (OSError, ValueError) as error:
        raise IdentityError(f"certificate, key or trust bundle are not usable: {error}") from error
    finally:
        os.close(file)
    return context
