"""The newer gateway's part: find the older one, take what it has, and say so once everything works.

The older one's name is known but for its end, so every name that could be it is tried, and only a gateway of this pod can
prove itself. Without one the gateway starts as the first of a pod does.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time

from kube_gateway.control.tls import client_context
from kube_gateway.errors import HandoverError, KubeGatewayError
from kube_gateway.gateway.handover import kernel, messages
from kube_gateway.gateway.handover.channel import MOST_DESCRIPTORS, Channel, close_all
from kube_gateway.gateway.handover.offering import INTRODUCED_WITHIN, PREFIX
from kube_gateway.gateway.handover.own import Own
from kube_gateway.gateway.handover.partner import introduce
from kube_gateway.gateway.listeners import redirect_port_is_taken

_log = logging.getLogger("supervisor")

_SEARCH_WITHIN = 10.0
_SEARCH_ON_WITHIN = 30.0
"""While somebody has the ports that this gateway needs: without that one it could not start anyway."""

_SEARCH_AGAIN = 0.5
_REFUSED_AGAIN = 2.0
_CONNECT_AGAIN = 0.003
_MOST_NAMES = 32
_YIELDED_WITHIN = 5.0


class Inheritance:
    """What an older gateway has handed over. `listeners` by kind; `maps` are descriptors by name, none where the hooks'
    maps are of another layout; `pipes` by cgroup, the first is that of the gateway itself; `makers`: see `Offer`. `policy`
    comes with the descriptor of its text; `authorization` are the rules of who may reach the pod."""

    def __init__(self, channel: Channel, generation: int, offer: messages.Offer, descriptors: list[int]) -> None:
        expected = len(offer.listeners) + len(offer.maps) + len(offer.cgroups) + (offer.policy is not None)
        if len(descriptors) != expected or not offer.cgroups:
            close_all(descriptors)
            raise HandoverError("the older gateway's offer does not fit the descriptors beside it")
        rest = iter(descriptors)
        self._channel = channel
        self.generation = generation
        self.listeners: dict[str, tuple[socket.socket, ...]] = {}
        for kind in offer.listeners:
            self.listeners[kind] = (*self.listeners.get(kind, ()), socket.socket(fileno=next(rest)))
        self.maps = {name: next(rest) for name in offer.maps}
        self.pipes = {cgroup: next(rest) for cgroup in offer.cgroups}
        self.makers = offer.makers
        self.enrolled = offer.enrolled
        self.seen = offer.seen
        self.authorization = offer.authorization
        self.revoked = offer.revoked
        self.policy = (offer.policy, next(rest)) if offer.policy is not None else None

    def close_maps(self) -> None:
        """The maps are not needed as descriptors any more."""
        close_all(list(self.maps.values()))
        self.maps = {}

    def close(self) -> None:
        """Give up everything."""
        self._channel.close()
        self.close_maps()
        close_all([*self.pipes.values(), *((self.policy[1],) if self.policy else ())])
        for listeners in self.listeners.values():
            for listener in listeners:
                listener.close()

    async def confirm(self) -> None:
        """Say that everything works, and wait until the older gateway has stopped accepting.

        Raises `OSError` or `HandoverError` when it does not answer: then it has died, or it goes on itself.
        """
        with self._channel:
            async with asyncio.timeout(_YIELDED_WITHIN):
                await self._channel.send(messages.TakenOver())
                said, _ = await self._channel.receive()
            if not isinstance(said, messages.Yielded):
                raise HandoverError(f"the older gateway says {type(said).__name__}")


class _Refused(Exception):
    """An older gateway has proved itself and hands nothing over."""

    def __init__(self, refusal: messages.Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


async def take_over(own: Own) -> Inheritance | None:
    """Get what an older gateway of this pod has; None where there is none, or none that proves itself in time.

    Waits while an older one has a reason that will pass. Raises `HandoverError` when it has one that will not.
    """
    told = ""
    while True:
        try:
            return await _search(own)
        except _Refused as refused:
            reason = refused.refusal.reason
            if not refused.refusal.later:
                raise HandoverError(f"nothing is handed over to this gateway: {reason}") from None
            if reason != told:
                told = reason
                _log.warning("waiting to take over: %s", reason)
        await asyncio.sleep(_REFUSED_AGAIN)


async def _search(own: Own) -> Inheritance | None:
    why = ""
    began = time.monotonic()
    while names := kernel.abstract_names(PREFIX):
        waited = time.monotonic() - began
        if waited >= (_SEARCH_ON_WITHIN if redirect_port_is_taken(own.addresses) else _SEARCH_WITHIN):
            break
        found, why = await _try_all(random.sample(names, min(len(names), _MOST_NAMES)), own)
        if found is not None:
            return found
        await asyncio.sleep(_SEARCH_AGAIN)
    if why:
        _log.warning("no older gateway proves itself (%s), starting without", why)
    else:
        _log.info("there is no older gateway to take over from")
    return None


async def _try_all(names: list[bytes], own: Own) -> tuple[Inheritance | None, str]:
    """Ask at all names at once; the first gateway that proves itself, or why the last one did not."""
    attempts = {asyncio.create_task(_ask(name, own)) for name in names}
    for attempt in attempts:
        # Those that nobody waits for any more may fail.
        attempt.add_done_callback(lambda done: None if done.cancelled() else done.exception())
    why = ""
    try:
        for done in asyncio.as_completed(attempts):
            try:
                return await done, ""
            except (OSError, KubeGatewayError) as error:
                why = str(error) or "no answer in time"
        return None, why
    finally:
        for attempt in attempts:
            attempt.cancel()


async def _ask(name: bytes, own: Own) -> Inheritance:
    identity = own.identity
    context = client_context(chain=identity.chain, key=identity.key, trust_bundle=identity.trust_bundle)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(INTRODUCED_WITHIN):
            await _connect(connection, name)
            channel = Channel(connection, context, server=False)
            older = await introduce(channel, own)
            said, descriptors = await channel.receive(descriptors=MOST_DESCRIPTORS)
        if not isinstance(said, messages.Offer):
            close_all(descriptors)
            if isinstance(said, messages.Refusal):
                raise _Refused(said)
            raise HandoverError(f"it says {type(said).__name__}")
        return Inheritance(channel, older.generation, said, descriptors)
    except BaseException:
        connection.close()
        raise


async def _connect(connection: socket.socket, name: bytes) -> None:
    while True:
        try:
            return connection.connect(name)
        except BlockingIOError:
            # Its queue is full; asyncio's own connect takes that for success. An application that fills the queue is quick
            # to take each place, so we are as well, and by chance: in step with its turns we might always come too late.
            await asyncio.sleep(random.uniform(0, _CONNECT_AGAIN))  # noqa: S311 - no secret
