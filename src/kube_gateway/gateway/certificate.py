"""The gateway's certificate: asked for with a key that never leaves the process, renewed at half its life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

import msgspec

from kube_gateway import _native
from kube_gateway.control.messages import Certificate

_log = logging.getLogger("supervisor")

_RENEW_AT = 0.5
"""The part of the life after which a new one is asked for: the rest is for a watcher that is away."""

_JITTER = 0.1
_ASK_AGAIN = 5.0
_SHORTEST = 1.0


class Identity(msgspec.Struct, frozen=True):
    """A certificate with its key (PEM)."""

    message: Certificate
    key: str


class CertificateKeeper:
    """Keeps a valid certificate.

    `request` sends a signing request and says whether it could; `use` is called with each new certificate in place.
    """

    def __init__(self, *, request: Callable[[str], bool], use: Callable[[], None]) -> None:
        self._request = request
        self._use = use
        self._pending_key: str | None = None
        self._asked_at = 0.0
        self._renew_at = 0.0
        self._wake = asyncio.Event()
        self.current: Identity | None = None

    @property
    def expires(self) -> float:
        """Seconds since the epoch, 0 without a certificate."""
        return self.current.message.expires if self.current else 0.0

    def connected(self) -> None:
        """The watcher is there: what was asked on an earlier connection has to be asked again."""
        self._asked_at = 0.0
        self._wake.set()

    def issued(self, message: Certificate) -> None:
        """Take a certificate for the pending key."""
        if self._pending_key is None:
            _log.warning("the watcher sent a certificate that was not asked for")
            return
        self.current = Identity(message=message, key=self._pending_key)
        self._pending_key = None
        life = message.expires - time.time()
        self._renew_at = time.time() + life * (_RENEW_AT - random.uniform(0, _JITTER))  # noqa: S311 - jitter
        _log.info("certificate for %s, valid for %.0f s", message.spiffe_id, life)
        self._use()
        self._wake.set()

    async def run(self) -> None:
        """Ask in time, for ever."""
        while True:
            now = time.time()
            due = max(self._renew_at, self._asked_at + _ASK_AGAIN)
            if now >= due:
                self._ask(now)
                due = now + _ASK_AGAIN
            self._wake.clear()
            # Not wait_for(): on Python 3.11 it loses a cancellation that meets the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(due - now, _SHORTEST / 10)):
                    await self._wake.wait()

    def _ask(self, now: float) -> None:
        if self.current and now > self.expires:
            _log.error("the certificate has expired and the watcher has sent no other")
        key, request = _native.create_key_and_request()
        if self._request(request):
            self._pending_key = key
            self._asked_at = now
