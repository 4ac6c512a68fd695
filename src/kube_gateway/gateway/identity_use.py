"""What the worker proves itself with and whom it turns away: told to each worker, and in effect once it says so.

A root is replaced step by step, and the watcher takes the next step when every gateway has taken the last one. So what is
reported is what the worker uses, not what it was sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from kube_gateway import _native
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.certificate import Identity
from kube_gateway.identity.bundle import trust_generation
from kube_gateway.model.identity_report import IdentityReport

_log = logging.getLogger("supervisor")


class IdentityUse:
    """`send` tells the worker, if there is one."""

    def __init__(self, send: Callable[[messages.ToWorker], None]) -> None:
        self._send = send
        self._current: Identity | None = None
        self._number = 0
        self._taken = 0
        self._report: IdentityReport | None = None
        self._revoked: tuple[str, ...] | None = None

    def use(self, identity: Identity | None) -> None:
        """Tell the worker that this is the identity from now on, if there is one."""
        if identity is None:
            return
        self._number += 1
        self._current = identity
        self._send(
            messages.UseIdentity(
                number=self._number,
                chain=identity.chain,
                key=identity.key,
                trust_bundle=identity.trust_bundle,
                trust_domain=identity.trust_domain,
            )
        )

    def revoke(self, uids: tuple[str, ...]) -> None:
        """Tell the worker whom to turn away."""
        self._revoked = uids
        self._send(messages.SetRevoked(uids=uids))

    def inherit(self, revoked: tuple[str, ...]) -> None:
        """Turn away whom an older gateway did, unless the watcher has said since who is revoked, or that nobody is."""
        if self._revoked is None:
            self._revoked = revoked

    @property
    def revoked(self) -> tuple[str, ...]:
        """Uids of pods."""
        return self._revoked or ()

    def brief(self, identity: Identity | None) -> None:
        """Tell a new worker everything."""
        self._send(messages.SetRevoked(uids=self.revoked))
        self.use(identity)

    def taken(self, number: int) -> None:
        """The worker uses the identity of this number."""
        if number != self._number or number == self._taken or self._current is None:
            return
        self._taken = number
        try:
            self._report = described(self._current)
        except _native.NativeError as error:
            self._report = None
            _log.error("the identity in use cannot be reported: %s", error.args[0])

    def report(self, *, renews_at: float) -> IdentityReport | None:
        """What the worker proves itself with; None while another one is on its way to it.

        `renews_at` is in seconds since the epoch.
        """
        if self._report is None or self._taken != self._number:
            return None
        return msgspec.structs.replace(self._report, renews_at=renews_at)


def described(identity: Identity) -> IdentityReport:
    """What an identity would prove. Raises `NativeError` when its chain or bundle are not readable."""
    read = msgspec.json.decode(_native.describe_identity(identity.chain, identity.trust_bundle), type=IdentityReport)
    return msgspec.structs.replace(read, trust_generation=trust_generation(read.roots))
