"""What leaves the pod: read once a second from the hook that counts it, and told, to the watcher and in receipts."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from kube_gateway import _native
from kube_gateway.control.messages import Receipt as SignedText
from kube_gateway.control.messages import ReceiptQuery
from kube_gateway.gateway.certificate import Identity
from kube_gateway.gateway.environment import GatewayEnvironment
from kube_gateway.gateway.sent_history import Period, SentHistory
from kube_gateway.model.receipt import (
    VERSION,
    Receipt,
    ReceiptClear,
    ReceiptGap,
    ReceiptPeer,
    ReceiptSent,
    SignedReceipt,
    signed_bytes,
    time_text,
)
from kube_gateway.model.sent import KINDS, MOST_PEERS, REST, SentReport, SentTo, with_the_most
from kube_gateway.model.settings import Settings

_log = logging.getLogger("supervisor")

_NOWHERE = {"0.0.0.0", "::"}  # noqa: S104 - how the hook names all peers for which it has no room
_A_MOMENT = 0.5
_NOT_YET = "nothing is counted yet: the gateway's hooks are not on the pod"


class _Counted(msgspec.Struct, frozen=True):
    since: float
    totals: dict[str, int]
    peers: tuple[SentTo, ...]


_counted = msgspec.json.Decoder(_Counted)


class Accounting:
    """Reads `hooks` and remembers. `identity` is what receipts are signed by, at that moment."""

    def __init__(
        self,
        environment: GatewayEnvironment,
        *,
        hooks: Callable[[], _native.Hooks],
        identity: Callable[[], Identity | None],
    ) -> None:
        self._environment = environment
        self._hooks = hooks
        self._identity = identity
        self._history = SentHistory()
        self._last: SentReport | None = None
        self._clear = 0
        self._told = ""
        self._looked = 0.0
        self._settings: Settings | None = None
        self._settings_since = 0.0

    @property
    def read(self) -> SentReport | None:
        """As it was read last, with all peers."""
        return self._last

    @property
    def report(self) -> SentReport | None:
        """As it was read last, with the peers that have the most; None before anything is counted."""
        last = self._last
        if last is None:
            return None
        named = (peer for peer in last.peers if peer.address != REST)
        return msgspec.structs.replace(last, peers=with_the_most(named, most=MOST_PEERS))

    def in_force(self, settings: Settings) -> None:
        """These are the settings in force now."""
        if settings != self._settings:
            self._settings, self._settings_since = settings, time.time()

    def look(self, *, clear: int | None = None) -> None:
        """Read the counters. `clear` connections stand in clear; None is as many as the last time."""
        self._clear = self._clear if clear is None else clear
        try:
            counted = _counted.decode(self._hooks().sent())
        except (_native.NativeError, msgspec.DecodeError) as error:
            if str(error) != self._told:
                self._told = str(error)
                _log.error("what leaves the pod is not counted: %s", error)
            return
        self._told = ""
        if not counted.since:
            return
        peers = tuple(
            msgspec.structs.replace(peer, address=REST) if peer.address in _NOWHERE else peer for peer in counted.peers
        )
        self._last = SentReport(since=counted.since, totals=counted.totals, peers=peers)
        self._looked = time.time()
        self._history.add(self._last, time=self._looked, steady=time.monotonic(), clear=self._clear)

    def receipt(self, query: ReceiptQuery, *, settings: Settings) -> SignedText:
        """Answer a query with a signed receipt, or with why there is none."""
        self.in_force(settings)
        self.look()
        identity = self._identity()
        now = time.time()
        if self._last is None or identity is None:
            return SignedText(number=query.number, problem=_NOT_YET)
        if now >= identity.expires:
            return SignedText(number=query.number, problem="the gateway's certificate has expired")
        # The counters were read a moment ago, or, if that failed, longer ago than that, which is a gap.
        latest = self._looked if now - self._looked < _A_MOMENT else now
        until = min(query.until or latest, latest)
        since = query.since or min(self._last.since, until)
        if since > until:
            return SignedText(number=query.number, problem="the period begins in the future, or after its end")
        period = self._history.between(since, until)
        try:
            spiffe_id, _ = _native.read_certificate(identity.chain)
            receipt = msgspec.to_builtins(self._receipt(period, spiffe_id=spiffe_id, settings=settings, made=now))
            signature = _native.sign(identity.key, signed_bytes(receipt))
        except _native.NativeError as error:
            return SignedText(number=query.number, problem=str(error.args[0]))
        signed = SignedReceipt(
            receipt=receipt, chain=identity.chain, signature=base64.b64encode(signature).decode("ascii")
        )
        return SignedText(number=query.number, receipt=msgspec.json.encode(signed).decode())

    def _receipt(self, period: Period, *, spiffe_id: str, settings: Settings, made: float) -> Receipt:
        asked: dict[str, Any] = msgspec.to_builtins(settings)
        return Receipt(
            version=VERSION,
            pod=self._environment.pod,
            uid=self._environment.uid,
            spiffe_id=spiffe_id,
            generation=self._environment.generation,
            begin=time_text(period.begin),
            end=time_text(min(period.end, made)),
            made=time_text(made),
            gaps=tuple(ReceiptGap(begin=time_text(begin), end=time_text(end)) for begin, end in period.gaps),
            clock_steps=period.clock_steps,
            sent=ReceiptSent(
                totals={kind: period.totals[kind] for kind in KINDS},
                peers=tuple(
                    ReceiptPeer(address=peer.address, kind=peer.kind, bytes=peer.bytes, packets=peer.packets)
                    for peer in period.peers
                ),
            ),
            clear_connections=ReceiptClear(now=period.clear_now, most=period.clear_most),
            settings=asked,
            settings_since=time_text(self._settings_since),
        )
