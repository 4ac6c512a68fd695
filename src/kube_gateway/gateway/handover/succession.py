"""This gateway's place between an older one that it takes over from and a newer one that takes over from it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from kube_gateway.errors import HandoverError, KubeGatewayError
from kube_gateway.gateway.handover.offering import Offering, Possessions
from kube_gateway.gateway.handover.older import OlderGateways

if TYPE_CHECKING:
    from kube_gateway.gateway.handover.messages import OfferedPolicy, SeenConnection
    from kube_gateway.gateway.handover.own import Own
    from kube_gateway.gateway.handover.taking import Inheritance

_log = logging.getLogger("supervisor")

_GONE_WITHIN = 1.0
_POLL = 0.02


class Succession:
    """Both parts of a hand-over.

    `own` says what this gateway is, None while it has no certificate; `listeners`, `maps`, `enrolled`, `seen`, `policy`,
    `authorization` and `revoked` what it has to give. `on_change` is called when `others` has changed, `on_handed_over`
    when a newer gateway has taken over. `makers` are cgroups of gateways, perhaps gone by now, that what is accepted counts
    as made in.
    """

    def __init__(
        self,
        *,
        own: Callable[[], Own | None],
        listeners: Callable[[], dict[str, tuple[int, ...]]],
        maps: Callable[[], dict[str, int]],
        enrolled: Callable[[], tuple[str, ...]],
        seen: Callable[[], tuple[SeenConnection, ...]],
        policy: Callable[[], tuple[OfferedPolicy, int] | None],
        authorization: Callable[[], str | None],
        revoked: Callable[[], tuple[str, ...]],
        on_change: Callable[[], None],
        on_handed_over: Callable[[], None],
    ) -> None:
        self._own = own
        self._listeners, self._maps, self._enrolled, self._policy = listeners, maps, enrolled, policy
        self._seen = seen
        self._authorization = authorization
        self._revoked = revoked
        self._older = OlderGateways(on_change)
        self._offering = Offering(
            own=own, possessions=self._possessions, on_successor=on_change, on_taken_over=on_handed_over
        )
        self._inheritance: Inheritance | None = None
        self.makers: tuple[int, ...] = ()

    @property
    def others(self) -> tuple[int, ...]:
        """Cgroups (inode numbers) of other gateways of the pod, whose connections are a gateway's own as well."""
        return tuple(cgroup for cgroup in (self._offering.successor, *self._older.cgroups) if cgroup)

    async def take_over(self) -> Inheritance | None:
        """Take over from an older gateway; None if there is none that proves itself."""
        # Not needed by the first gateway of a pod, and not small.
        from kube_gateway.gateway.handover.taking import take_over  # noqa: PLC0415

        if (own := self._own()) is None:
            raise RuntimeError("a gateway tried to take over before it had a certificate")
        self._inheritance = inheritance = await take_over(own)
        if inheritance is not None:
            self._older.watch(inheritance.pipes)
            self.makers = inheritance.makers
            _log.info("taking over from generation %d", inheritance.generation)
        return inheritance

    async def confirm(self) -> None:
        """Tell the older gateway that everything works. Raises `HandoverError` when it goes on itself."""
        if self._inheritance is None:
            return
        inheritance, self._inheritance = self._inheritance, None
        older = next(iter(inheritance.pipes))
        try:
            await inheritance.confirm()
        except (OSError, KubeGatewayError) as error:
            if not await self._is_gone(older):
                raise HandoverError(
                    f"generation {inheritance.generation} does not yield: {error or 'no answer in time'}",
                    hint="it goes on, this one ends",
                ) from error
            _log.warning("generation %d has died in the middle of the hand-over", inheritance.generation)
        else:
            _log.info("taken over from generation %d", inheritance.generation)

    async def offer(self) -> None:
        """Listen for a newer gateway until cancelled; that ends a hand-over that is under way."""
        await self._offering.run()

    def _possessions(self) -> Possessions:
        own = self._own()
        cgroups = {own.cgroup: self._older.own_pipe} if own else {}
        return Possessions(
            listeners=self._listeners(),
            maps=self._maps(),
            makers=tuple(dict.fromkeys((*self.makers, *cgroups))),
            cgroups=cgroups | dict(zip(self._older.cgroups, self._older.pipes, strict=True)),
            enrolled=self._enrolled(),
            seen=self._seen(),
            revoked=self._revoked(),
            policy=self._policy(),
            authorization=self._authorization(),
        )

    async def _is_gone(self, cgroup: int) -> bool:
        """Its end of the connection goes a moment before its end of the pipe."""
        deadline = asyncio.get_running_loop().time() + _GONE_WITHIN
        while cgroup in self._older.cgroups and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL)
        return cgroup not in self._older.cgroups
