"""Making a connection to the watcher: a unix socket on this machine, mutual TLS in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kube_gateway.control.whereabouts import Whereabouts
from kube_gateway.errors import IdentityError
from kube_gateway.gateway.certificate import Identity
from kube_gateway.gateway.watcher_link import Streams

_LONGEST_LINE = 4 * 1024 * 1024
"""Bytes; a policy may be as long as a ConfigMap, and is escaped. What gateways say is shorter (`LONGEST_LINE` there)."""

_CONNECT_WITHIN = 5.0


class WatcherConnection:
    """Connects to the watcher with the SPIFFE id `watcher`. `identity` gives the gateway's own at that moment."""

    def __init__(self, control: Whereabouts, *, watcher: str, identity: Callable[[], Identity | None]) -> None:
        self._control = control
        self._watcher = watcher
        self._identity = identity
        self._leader: Whereabouts | None = None
        self._sent_on = False

    def try_next(self, leader: Whereabouts | None) -> bool:
        """Connect to `leader` next time, and to where the watcher was first looked for after that.

        Returns whether that may be at once: not where that leader sends us on as well, or two watchers that both stand by
        would be asked in a hurry.
        """
        self._leader = leader
        return leader is not None and not self._sent_on

    async def connect(self) -> Streams:
        """Make a connection. Raises `OSError`, or `IdentityError` when it is not the watcher that answers."""
        self._sent_on = self._leader is not None
        place, self._leader = self._leader or self._control, None
        async with asyncio.timeout(_CONNECT_WITHIN):
            if place.path:
                return await asyncio.open_unix_connection(place.path, limit=_LONGEST_LINE)
            return await self._connect_tls(place)

    async def _connect_tls(self, place: Whereabouts) -> Streams:
        # Not needed on this machine, and not small.
        from kube_gateway.control.tls import client_context, spiffe_id_of_peer  # noqa: PLC0415

        identity = self._identity()
        if identity is None:
            raise IdentityError("there is no certificate to show to the watcher")
        context = client_context(chain=identity.chain, key=identity.key, trust_bundle=identity.trust_bundle)
        reader, writer = await asyncio.open_connection(place.host, place.port, ssl=context, limit=_LONGEST_LINE)
        try:
            found = spiffe_id_of_peer(writer.get_extra_info("ssl_object"))
            if found != self._watcher:
                raise IdentityError(f"{place} is {found}, not the watcher {self._watcher}")
        except BaseException:
            writer.close()
            raise
        return reader, writer
