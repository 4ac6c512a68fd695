"""A receipt: what a pod has sent in a period, and how, signed by the key that the pod's peers know it by.

It can be kept, and proved later by whoever has the root certificate. Its values are texts and whole numbers only, so that
it has one canonical form (RFC 8785), and that is what is signed: how the file is written does not matter.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import msgspec

VERSION = 1

_CONTEXT = b"kube-gateway receipt\0"
"""Before what is signed: the key signs handshakes too, and neither is to pass for the other."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base. Nothing has a default: what is missing has been taken away."""


class ReceiptPeer(_Part, frozen=True):
    """Payload that went to one address; an empty one stands for those that are not named."""

    address: str
    kind: str
    bytes: int
    packets: int


class ReceiptSent(_Part, frozen=True):
    """Payload bytes by kind (see `model.sent.KINDS`) and peer."""

    totals: dict[str, int]
    peers: tuple[ReceiptPeer, ...]


class ReceiptGap(_Part, frozen=True, rename={"begin": "from", "end": "to"}):
    """A part of the period of which the gateway knows nothing."""

    begin: str
    end: str


class ReceiptClear(_Part, frozen=True):
    """TCP connections that stood in clear: at the end of the period, and the most at one time in it."""

    now: int
    most: int


class Receipt(_Part, frozen=True, rename={"begin": "from", "end": "to"}):
    """What one pod has sent. Times are RFC 3339, in UTC, with milliseconds, by the clock of the pod's node.

    `pod` is `namespace/name`. `begin` and `end` are the period, no shorter than the one asked for: counters are read once a
    second, and remembered by the minute after two. `made` is when it was signed. `clock_steps` is how often that clock was
    set in the period. `settings` are those in force then, since `settings_since` by
    what this gateway knows; `generation` is the gateway's.
    """

    version: int
    pod: str
    uid: str
    spiffe_id: str
    generation: int
    begin: str
    end: str
    made: str
    gaps: tuple[ReceiptGap, ...]
    clock_steps: int
    sent: ReceiptSent
    clear_connections: ReceiptClear
    settings: dict[str, bool | int | str | tuple[int | str, ...]]
    settings_since: str


class SignedReceipt(_Part, frozen=True):
    """A receipt with the chain of the key that signed it (PEM, leaf first) and the signature.

    `receipt` is a `Receipt` as it was read. `signature` is base64 of ECDSA with SHA-256 over `signed_bytes(receipt)`, DER.
    """

    receipt: dict[str, object]
    chain: str
    signature: str


def signed_bytes(receipt: object) -> bytes:
    """Return what is signed of a receipt, a JSON value without fractions. Raises `ValueError` for what has no such form."""
    text = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _CONTEXT + text.encode()


def time_text(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as receipts have it."""
    return datetime.fromtimestamp(round(seconds, 3), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def time_of(text: str) -> float:
    """Return seconds since the epoch. Raises `ValueError` for what `time_text` does not write."""
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text!r} is not a time like 2026-01-31T09:30:00.000Z")
    return datetime.fromisoformat(text).timestamp()
