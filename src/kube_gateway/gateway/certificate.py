"""The gateway's certificate: asked for with a key that never leaves the process, renewed at half its life.

A gateway in a cluster is started with a certificate whose key has been in a Secret; it asks for one with a key of its own
as soon as it meets its watcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

import msgspec

from kube_gateway import _native
from kube_gateway.control.messages import Certificate, CertificateRequest, Renew, Trust
from kube_gateway.errors import IdentityError
from kube_gateway.gateway.wall_clock import WallClock

_log = logging.getLogger("supervisor")

_RENEW_AT = 0.5
"""The part of the life after which a new one is asked for: the rest is for a watcher that is away."""

_JITTER = 0.1
_ASK_AGAIN = 5.0
_SHORTEST = 0.1
_LOOK_AT_CLOCK = 1.0


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate chain with its key and the roots that peers may come from (all PEM). `expires`: since the epoch."""

    chain: str
    key: str
    trust_bundle: str
    trust_domain: str
    expires: float


class _Pending(msgspec.Struct, frozen=True, kw_only=True):
    request: CertificateRequest
    key: str


class CertificateKeeper:
    """Keeps a valid certificate.

    `request` sends a signing request and says whether it could; `use` is called with each new certificate in place.
    `initial` is one to begin with; `IdentityError` when it has expired, as the watcher would let nobody in with it.
    """

    def __init__(
        self,
        *,
        request: Callable[[CertificateRequest], bool],
        use: Callable[[], None],
        initial: Identity | None = None,
    ) -> None:
        self._request = request
        self._use = use
        self._pending: _Pending | None = None
        self._requests = 0
        self._asked_at = 0.0
        self._renew_at = 0.0
        self._wake = asyncio.Event()
        self.current = initial
        if initial is not None and time.time() >= initial.expires:
            raise IdentityError(
                f"the certificate that the gateway was started with expired {time.time() - initial.expires:.0f} s ago",
                hint="a new generation gets a new one; if that has expired too, compare the clocks of node and watcher",
            )

    @property
    def expires(self) -> float:
        """Seconds since the epoch, 0 without a certificate."""
        return self.current.expires if self.current else 0.0

    def check(self) -> None:
        """Raise `IdentityError` when it has expired: not even the watcher would let this gateway in any more."""
        if 0 < self.expires < time.time():
            raise IdentityError(
                "the certificate has expired, and the watcher was not there to renew it",
                hint="a new generation with a new certificate is started as soon as the watcher is back",
            )

    def connected(self) -> None:
        """The watcher is there: what was asked on an earlier connection has to be asked again."""
        self._asked_at = 0.0
        self._wake.set()

    def told(self, message: Certificate | Trust | Renew) -> None:
        """Do what the watcher says."""
        match message:
            case Certificate():
                self.issued(message)
            case Trust():
                self.trust(message.trust_bundle)
            case Renew():
                self.renew()

    def issued(self, message: Certificate) -> None:
        """Take a certificate for the pending key; one for another key is of no use."""
        if self._pending is None or message.number != self._pending.request.number:
            _log.debug("the watcher sent a certificate twice")
            return
        self.current = Identity(
            chain=message.chain,
            key=self._pending.key,
            trust_bundle=message.trust_bundle,
            trust_domain=message.trust_domain,
            expires=message.expires,
        )
        self._pending = None
        # When it was asked for stays known: by a clock that is not the watcher's it may be over already, and then the
        # next one is not asked for at once.
        life = message.expires - time.time()
        self._renew_at = time.time() + life * (_RENEW_AT - random.uniform(0, _JITTER))  # noqa: S311 - jitter
        _log.info("certificate for %s, valid for %.0f s", message.spiffe_id, life)
        self._use()
        self._wake.set()

    @property
    def renews_at(self) -> float:
        """When another one is asked for, in seconds since the epoch."""
        return self._renew_at

    def trust(self, bundle: str) -> None:
        """Peers may come from these roots (PEM) from now on."""
        if self.current is not None and self.current.trust_bundle != bundle:
            self.current = msgspec.structs.replace(self.current, trust_bundle=bundle)
            _log.info("the roots that peers may come from have changed")
            self._use()

    def renew(self) -> None:
        """Ask for another one now, with a key of its own."""
        self._renew_at = self._asked_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Ask in time, for ever; at once when the clock was set, as no certificate of before may be valid by it."""
        clock = WallClock()
        while True:
            if change := clock.set_by():
                _log.warning("the clock was set by %+.0f s, asking for another certificate", change)
                self._renew_at = self._asked_at = 0.0
            now = time.time()
            due = max(self._renew_at, self._asked_at + self._pause())
            if now >= due:
                self._ask(now)
                due = now + self._pause()
            self._wake.clear()
            # Not wait_for(): on Python 3.11 it loses a cancellation that meets the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(due - now, _SHORTEST), _LOOK_AT_CLOCK)):
                    await self._wake.wait()

    def _pause(self) -> float:
        """Before it is asked again: not so long that what is left of the life is used up."""
        left = self.expires - time.time()
        return min(_ASK_AGAIN, max(left / 4, _SHORTEST)) if self.current and left > 0 else _ASK_AGAIN

    def _ask(self, now: float) -> None:
        if self.current and now > self.expires:
            _log.error("the certificate has expired and the watcher has sent no other")
        if self._pending is None:
            # One key until it is certified: an answer that comes late is for the same.
            self._requests += 1
            key, csr = _native.create_key_and_request()
            self._pending = _Pending(request=CertificateRequest(number=self._requests, csr=csr), key=key)
        if self._request(self._pending.request):
            self._asked_at = now
