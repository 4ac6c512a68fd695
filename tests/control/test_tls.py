"""The line between gateway and watcher: both sides prove who they are, over TLS 1.3 and nothing older."""

from __future__ import annotations

import asyncio
import datetime
import ssl

import pytest

from kube_gateway.control.tls import client_context, spiffe_id_of_peer
from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import create_authority
from tls_identities import identity_of, tls_watcher


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("ours"), trust_domain="example.org")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Another root, of the same name."""
    return create_authority(tmp_path_factory.mktemp("theirs"), trust_domain="example.org")


class Seen:
    """What the watcher's side saw of those that dialled."""

    def __init__(self):
        self.peers = []
        self.versions = []

    async def serve(self, reader, writer):
        connection = writer.get_extra_info("ssl_object")
        self.peers.append(spiffe_id_of_peer(connection))
        self.versions.append(connection.version())
        writer.write(await reader.readline())
        await writer.drain()


def context_of(identity):
    return client_context(chain=identity.chain, key=identity.key, trust_bundle=identity.trust_bundle)


async def echo(port, context):
    """One line there and back, and the TLS object that it went over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"hello\n")
        line = await asyncio.wait_for(reader.readline(), 5)
        return line, writer.get_extra_info("ssl_object")
    finally:
        writer.close()


async def is_refused(port, context):
    """Whether the watcher answers nothing. In TLS 1.3 a client is done before its certificate has been looked at, so it
    learns of a refusal by an error or by an early end, whichever comes first."""
    try:
        line, _ = await echo(port, context)
    except (ssl.SSLError, ConnectionError):
        return True
    return line == b""


async def test_both_sides_know_whom_they_speak_to(authority):
    seen = Seen()
    async with tls_watcher(identity_of(authority, "watcher"), seen.serve) as port:
        line, connection = await echo(port, context_of(identity_of(authority, "web")))
    assert line == b"hello\n"
    assert spiffe_id_of_peer(connection) == "spiffe://example.org/ns/shop/sa/watcher"
    assert seen.peers == ["spiffe://example.org/ns/shop/sa/web"]
    assert (connection.version(), seen.versions) == ("TLSv1.3", ["TLSv1.3"])


async def test_a_session_cannot_be_resumed(authority):
    async with tls_watcher(identity_of(authority, "watcher"), Seen().serve) as port:
        _, connection = await echo(port, context_of(identity_of(authority, "web")))
    assert connection.session is None or not connection.session.has_ticket


async def test_a_watcher_of_another_root_is_refused(authority, stranger):
    seen = Seen()
    async with tls_watcher(identity_of(stranger, "watcher", roots=authority), seen.serve) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
            await echo(port, context_of(identity_of(authority, "web")))
    assert seen.peers == []


async def test_a_gateway_of_another_root_is_refused(authority, stranger):
    seen = Seen()
    async with tls_watcher(identity_of(authority, "watcher"), seen.serve) as port:
        assert await is_refused(port, context_of(identity_of(stranger, "web", roots=authority)))
    assert seen.peers == []


async def test_a_gateway_without_a_certificate_is_refused(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=authority.certificate_pem)
    seen = Seen()
    async with tls_watcher(identity_of(authority, "watcher"), seen.serve) as port:
        assert await is_refused(port, context)
    assert seen.peers == []


async def test_a_certificate_that_has_expired_is_refused(authority):
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=2)
    seen = Seen()
    async with tls_watcher(identity_of(authority, "watcher"), seen.serve) as port:
        assert await is_refused(port, context_of(identity_of(authority, "web", now=past)))
    assert seen.peers == []


async def test_nothing_older_than_tls_1_3_is_spoken(authority):
    context = context_of(identity_of(authority, "web"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    seen = Seen()
    async with tls_watcher(identity_of(authority, "watcher"), seen.serve) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await echo(port, context)
    assert seen.peers == []


def test_a_key_of_another_certificate_is_refused(authority):
    one, other = identity_of(authority, "one"), identity_of(authority, "other")
    with pytest.raises(IdentityError, match="certificate, key or trust bundle are not usable"):
        client_context(chain=one.chain, key=other.key, trust_bundle=one.trust_bundle)


@pytest.mark.parametrize("part", ["chain", "key", "trust_bundle"])
def test_what_is_no_pem_is_refused(authority, part):
    identity = identity_of(authority, "web")
    parts = {"chain": identity.chain, "key": identity.key, "trust_bundle": identity.trust_bundle, part: "nonsense"}
    with pytest.raises(IdentityError, match="not usable"):
        client_context(**parts)


class Presented:
    """A TLS object whose peer presented these names."""

    def __init__(self, *names):
        self._names = names

    def getpeercert(self):
        return {"subjectAltName": self._names}


@pytest.mark.parametrize(
    "names",
    [
        (),
        (("DNS", "watcher.example.org"),),
        (("URI", "https://example.org"),),
        (("URI", "spiffe://example.org/a"), ("URI", "spiffe://example.org/b")),
    ],
)
def test_a_peer_has_exactly_one_spiffe_id(names):
    with pytest.raises(IdentityError, match="it must have one SPIFFE id"):
        spiffe_id_of_peer(Presented(*names))


def test_addresses_beside_the_spiffe_id_do_not_matter():
    presented = Presented(("URI", "spiffe://example.org/a"), ("IP Address", "10.0.0.1"))
    assert spiffe_id_of_peer(presented) == "spiffe://example.org/a"
