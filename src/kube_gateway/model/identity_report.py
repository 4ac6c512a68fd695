"""What a gateway would prove of its pod, as it reports it."""

from __future__ import annotations

import msgspec


class IdentityReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The certificate that new sessions begin with, and the roots that peers may come from.

    `serial` is hexadecimal; `issuer` and `roots` are SHA-256 fingerprints, `issuer` that of the root which the chain ends
    at (empty if the bundle does not have it). `not_before`, `not_after` and `renews_at` (when another one is asked for)
    are seconds since the epoch. `trust_generation` is that of the roots.
    """

    spiffe_id: str
    uid: str
    addresses: tuple[str, ...]
    serial: str
    issuer: str
    not_before: float
    not_after: float
    roots: tuple[str, ...]
    trust_generation: int = 0
    renews_at: float = 0.0
