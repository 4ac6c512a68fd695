"""The older gateway's part: wait for a newer one, give it what there is only once, and stop accepting when it says so.

The name is an abstract one, as two containers of a pod share their network namespace and no file system. The application
can see it, so it ends in something random that cannot be taken beforehand, and what comes through it is bounded: in
number, in time, and in what is logged. Whatever goes wrong before the newer gateway has taken over, this one goes on as if
nothing had been.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from kube_gateway import _native
from kube_gateway.errors import HandoverError, KubeGatewayError
from kube_gateway.gateway.handover import messages

if TYPE_CHECKING:
    from kube_gateway.gateway.handover.channel import Channel
    from kube_gateway.gateway.handover.own import Own

_log = logging.getLogger("supervisor")

PREFIX = b"kube-gateway-"
INTRODUCED_WITHIN = 5.0
_TAKEN_OVER_WITHIN = 60.0
"""Starting a worker takes a second; on a node with other worries, more."""

_MOST_GUESTS = 16
_ACCEPT_EVERY = 0.02
_BACKLOG = 16
_MOST_CGROUPS = 4
"""As many as the hooks can take for the gateway's own."""


class Possessions(msgspec.Struct, frozen=True, kw_only=True):
    """What can be handed over: listeners and maps by kind and name, peers known as enrolled, and the cgroups of this
    gateway and of older ones that still have connections, each with a pipe that ends with it. `makers`, `revoked`: see
    `Offer`. `seen` are connections in clear. `policy` is that for LLM calls, with the descriptor of its text;
    `authorization` the rules of who may reach the pod."""

    listeners: dict[str, tuple[int, ...]]
    maps: dict[str, int]
    cgroups: dict[int, int]
    makers: tuple[int, ...]
    enrolled: tuple[str, ...]
    seen: tuple[messages.SeenConnection, ...] = ()
    revoked: tuple[str, ...] = ()
    policy: tuple[messages.OfferedPolicy, int] | None = None
    authorization: str | None = None


class Offering:
    """Listens for a newer gateway.

    `own` says what this gateway is, None while it has no certificate. `on_successor` is called when `successor`, the
    cgroup of the newer gateway (inode number, 0 none), has changed; `on_taken_over` when everything is that one's.
    """

    def __init__(
        self,
        *,
        own: Callable[[], Own | None],
        possessions: Callable[[], Possessions],
        on_successor: Callable[[], None],
        on_taken_over: Callable[[], None],
    ) -> None:
        self._own = own
        self._possessions = possessions
        self._on_successor = on_successor
        self._on_taken_over = on_taken_over
        self._guests: set[asyncio.Task[None]] = set()
        self._chosen: asyncio.Task[None] | None = None
        self._told = False
        self._refused = (0, "")
        self.successor = 0

    async def run(self) -> None:
        """Listen until cancelled."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) as listener:
            listener.bind(b"\0" + PREFIX + secrets.token_hex(8).encode())
            listener.listen(_BACKLOG)
            try:
                while True:
                    connection, _ = await loop.sock_accept(listener)
                    if len(self._guests) >= _MOST_GUESTS:
                        self._turn_away()
                    guest = asyncio.create_task(self._serve(connection))
                    self._guests.add(guest)
                    guest.add_done_callback(self._guests.discard)
                    await asyncio.sleep(_ACCEPT_EVERY)
            finally:
                for task in {*self._guests, *filter(None, (self._chosen,))}:
                    task.cancel()

    def _turn_away(self) -> None:
        """By chance: whoever floods us must not be able to tell which place is safe."""
        guest = random.choice(tuple(self._guests))  # noqa: S311 - no secret
        self._guests.discard(guest)
        guest.cancel()
        self._tell("too many connections at once")

    async def _serve(self, connection: socket.socket) -> None:
        # Not needed before there is somebody, and not small.
        from kube_gateway.control.tls import server_context  # noqa: PLC0415
        from kube_gateway.gateway.handover.channel import Channel  # noqa: PLC0415
        from kube_gateway.gateway.handover.partner import introduce  # noqa: PLC0415

        with connection:
            if (own := self._own()) is None:
                return
            try:
                identity = own.identity
                context = server_context(chain=identity.chain, key=identity.key, trust_bundle=identity.trust_bundle)
                channel = Channel(connection, context, server=True)
                async with asyncio.timeout(INTRODUCED_WITHIN):
                    newer = await introduce(channel, own)
                    if objection := self._objection(newer, own):
                        await self._refuse(channel, newer, objection)
                        return
            except (OSError, KubeGatewayError) as error:
                self._tell(str(error) or type(error).__name__)
                return
            self._chosen = asyncio.current_task()
            self._guests.discard(self._chosen)
            try:
                await self._hand_over(channel, newer)
            finally:
                self._chosen = None

    def _objection(self, newer: messages.Introduction, own: Own) -> messages.Refusal | None:
        if newer.generation <= own.generation:
            return messages.Refusal(reason=f"there is generation {own.generation} already")
        if self._chosen is not None:
            return messages.Refusal(reason="another hand-over is under way", later=True)
        if len(self._possessions().cgroups) >= _MOST_CGROUPS:
            return messages.Refusal(reason="too many older gateways still have connections", later=True)
        return None

    async def _refuse(self, channel: Channel, newer: messages.Introduction, objection: messages.Refusal) -> None:
        if self._refused != (newer.generation, objection.reason):
            self._refused = (newer.generation, objection.reason)
            _log.warning("nothing is handed over to generation %d: %s", newer.generation, objection.reason)
        await channel.send(objection)
        # It asks the kernel who is at this end, so it is the one to close.
        with contextlib.suppress(ConnectionError):
            await channel.receive()

    async def _hand_over(self, channel: Channel, newer: messages.Introduction) -> None:
        _log.info("handing over to generation %d", newer.generation)
        self._set_successor(newer.cgroup)
        try:
            async with asyncio.timeout(INTRODUCED_WITHIN):
                await self._offer(channel, newer)
            async with asyncio.timeout(_TAKEN_OVER_WITHIN):
                said, _ = await channel.receive()
            if not isinstance(said, messages.TakenOver):
                raise HandoverError(f"it says {type(said).__name__}")
        except BaseException as error:
            self._set_successor(0)
            if not isinstance(error, (OSError, KubeGatewayError)):
                raise
            why = str(error) or "it takes too long"
            _log.warning("generation %d has not taken over (%s), this one goes on", newer.generation, why)
            return
        self._chosen = None
        self._on_taken_over()
        # If it is gone by now, that changes nothing: nobody can take back what it was given.
        with contextlib.suppress(OSError):
            await channel.send(messages.Yielded())

    async def _offer(self, channel: Channel, newer: messages.Introduction) -> None:
        have = self._possessions()
        maps = have.maps if newer.layout == _native.hooks_layout() else {}
        kinds = tuple(kind for kind, listeners in have.listeners.items() for _ in listeners)
        policy = have.policy if newer.takes_policy else None
        listeners = (listener for listeners in have.listeners.values() for listener in listeners)
        await channel.send(
            messages.Offer(
                listeners=kinds,
                maps=tuple(maps),
                cgroups=tuple(have.cgroups),
                makers=have.makers,
                enrolled=have.enrolled,
                seen=have.seen,
                revoked=have.revoked,
                policy=policy[0] if policy else None,
                authorization=have.authorization,
            ),
            (*listeners, *maps.values(), *have.cgroups.values(), *((policy[1],) if policy else ())),
        )

    def _set_successor(self, cgroup: int) -> None:
        self.successor = cgroup
        self._on_successor()

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            _log.warning("somebody in the pod wants a hand-over and is no gateway of it: %s (logged once)", why)
