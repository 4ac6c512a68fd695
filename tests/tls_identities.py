"""Identities and a watcher's end of TLS, for tests of the line between gateways and watcher."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager

from kube_gateway import _native
from kube_gateway.control.tls import server_context
from kube_gateway.gateway.certificate import Identity
from kube_gateway.identity.authority import Authority
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.model.pod import Pod

HOUR = datetime.timedelta(hours=1)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def identity_of(
    authority: Authority, name: str, *, roots: Authority | None = None, now: datetime.datetime | None = None
) -> Identity:
    """An identity of service account `name` that trusts `roots` (its own authority unless given)."""
    key, request = _native.create_key_and_request()
    pod = Pod(name=name, uid=name, namespace="shop", service_account=name, addresses=("127.0.0.1",))
    issued = RootIssuer(authority).sign(request, pod=pod, life=HOUR, now=now)
    return Identity(
        chain=issued.chain,
        key=key,
        trust_bundle=(roots or authority).certificate_pem,
        trust_domain=authority.trust_domain,
        expires=time.time() + HOUR.total_seconds(),
    )


@asynccontextmanager
async def tls_watcher(identity: Identity, serve: Serve):
    """Listen as a watcher with that identity; the value is the port."""
    context = server_context(chain=identity.chain, key=identity.key, trust_bundle=identity.trust_bundle)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
