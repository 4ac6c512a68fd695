"""What the supervisor keeps of the rules of who may reach the pod: worker after worker has to get them, before it listens.

It fails closed. While rules are known to exist and not yet what they say, nobody reaches the pod through a tunnel; rules
that are not understood leave the last ones in force.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterable
from typing import Literal

from kube_gateway import _native
from kube_gateway.control import messages as control
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.bypasses import bypasses
from kube_gateway.model.authorization import (
    DENY_EVERYTHING,
    EVERY_PORT,
    authorization_name,
    closed_ports,
    decode_authorization,
    encode_authorization,
)
from kube_gateway.model.flow import ClearConnection

_log = logging.getLogger("supervisor")

_Ranges = tuple[tuple[int, int], ...]

RULES_WITHIN = 5.0
"""Seconds that a gateway which starts waits for its rules before it denies everything until they come."""


class AccessControl:
    """`tell` tells the worker, if there is one."""

    def __init__(self, tell: Callable[[messages.ToWorker], None]) -> None:
        self._tell = tell
        self._text: str | None = None
        self._awaited = False
        self._given_up = False

    @property
    def known(self) -> bool:
        """Whether a worker can be started: the rules are there, there are none, or enough was waited for them."""
        return self._text is not None or not self._awaited or self._given_up

    def expect(self, *, rules: bool) -> None:
        """Settings have come that say whether there are rules."""
        self._awaited = rules

    async def wait(self) -> None:
        """Wait as long as is sensible, then give up: everything is denied until the rules come."""
        await asyncio.sleep(RULES_WITHIN)
        if not self.known:
            self._given_up = True
            _log.warning(
                "the rules of who may reach this pod have not come in %g s: nobody may until then", RULES_WITHIN
            )

    def use(self, message: control.Authorize) -> None:
        """Take rules from the watcher, unless they are not understood."""
        self._take(message.text, source="the watcher")

    def inherit(self, text: str) -> None:
        """Go on with what an older gateway had, as long as the watcher has said nothing else."""
        if self._text is None:
            self._take(text, source="the older gateway")

    def offer(self) -> str | None:
        """What a later gateway goes on with; None while nobody has said."""
        return self._text

    def brief(self) -> None:
        """Tell a new worker, before it takes connections."""
        text = self._in_force
        if text:
            self._tell(messages.SetAuthorization(name=authorization_name(text), text=text))

    @property
    def closed(self) -> tuple[int, ...] | Literal["all"]:
        """The ports that nobody may reach without having proved who it is, so not past the tunnel either."""
        ranges = _closed_ports(self._in_force)
        if ranges == EVERY_PORT:
            return "all"
        return tuple(port for first, last in ranges for port in range(first, last + 1))

    def end_bypasses(self, clear: Iterable[ClearConnection], told: control.Configure) -> None:
        """End those of the connections in clear that go on past the rules."""
        cookies = bypasses(clear, closed=_closed_ports(self._in_force), told=told)
        if not cookies:
            return
        try:
            ended = _native.destroy_connections(list(cookies))
        except _native.NativeError as error:
            _log.error("connections in clear to ports that policies have closed go on: %s", error.args[0])
        else:
            _log.warning("ended %d connections in clear to ports that policies have closed", ended)

    @property
    def _in_force(self) -> str:
        if self._text is not None:
            return self._text
        return encode_authorization(DENY_EVERYTHING) if self._awaited else ""

    def _take(self, text: str, *, source: str) -> None:
        if text == self._text:
            return
        try:
            decode_authorization(text)
            # The worker's own words, so that it will take them.
            _native.decide_access(rules=text.encode(), peer=None, port=1)
        except (ValueError, _native.NativeError) as error:
            _log.error("the rules of %s are not understood, the last ones stay in force: %s", source, error)
            return
        name = authorization_name(text)
        if text or self._text:
            _log.info("who may reach this pod: %s", f"rules {name}" if name else "anybody, as no policy selects it")
        self._text = text
        self._tell(messages.SetAuthorization(name=name, text=text))


@functools.lru_cache(maxsize=2)
def _closed_ports(text: str) -> _Ranges:
    return closed_ports(decode_authorization(text))
