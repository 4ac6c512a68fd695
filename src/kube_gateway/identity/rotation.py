"""Replacing a root while workloads run: which root signs, which are trusted, and when the next step is safe. Pure.

A workload that knows only the old root must never meet a certificate of the new one, nor the other way round, and workloads
learn of each step at different times. So there are three steps, and each waits until everybody has taken the one before:

    introduce   both roots are trusted, the old one signs
    switch      both roots are trusted, the new one signs
    retire      the new root alone is trusted, and signs

Whoever is a step behind and whoever has taken it accept each other, in both directions; of two who are two steps apart that
would not hold. Source: RFC 4210, section 4.4, does the same with certificates in place of steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.identity.bundle import trust_generation

Stage = Literal["introduce", "switch", "retire"]

_NEXT: dict[Stage, Stage | None] = {"introduce": "switch", "switch": "retire", "retire": None}


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """One that is under way. `old` and `new` are fingerprints of roots (SHA-256, hexadecimal).

    `begun` and `changed` (when `stage` was reached) are seconds since the epoch.
    """

    stage: Stage
    old: str
    new: str
    begun: float
    changed: float


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Fingerprints: the root that signs, and those that are trusted."""

    signer: str
    trusted: frozenset[str]

    @property
    def trust_generation(self) -> int:
        """That of the bundle of the trusted roots."""
        return trust_generation(self.trusted)


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """A workload that has a certificate, as it was last heard of. `name` is for people.

    `trust_generation` is that of the bundle it uses, `issuer` the root of its certificate; 0 and empty while it has not
    said. `expires` (seconds since the epoch) is when its certificate does. `reachable`: it can be told something now.
    """

    name: str
    trust_generation: int = 0
    issuer: str = ""
    expires: float
    reachable: bool = True


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the next step waits for, and why, in words."""

    name: str
    why: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How far a rotation is, for people: the `root` that signs now (fingerprint), the rotation if one is under way, whom it
    waits for, and when that was so (seconds since the epoch)."""

    root: str
    rotation: Rotation | None = None
    waiting: tuple[Waiting, ...] = ()
    told_at: float


def plan(rotation: Rotation) -> Plan:
    """What signs and what is trusted now."""
    both = frozenset((rotation.old, rotation.new))
    match rotation.stage:
        case "introduce":
            return Plan(signer=rotation.old, trusted=both)
        case "switch":
            return Plan(signer=rotation.new, trusted=both)
        case "retire":
            return Plan(signer=rotation.new, trusted=frozenset((rotation.new,)))


def waits_for(rotation: Rotation, holders: Iterable[Holder], *, now: float) -> tuple[Waiting, ...]:
    """Those who have not taken this step yet, by name.

    Whoever is away may come back with what it has, and is waited for until its certificate has expired: from then on nobody
    accepts it, whatever the roots are, and it begins anew.
    """
    wanted = plan(rotation)
    found = []
    for holder in holders:
        if not holder.reachable and holder.expires <= now:
            continue
        if (why := _behind(holder, wanted, rotation.stage)) is not None:
            found.append(Waiting(name=holder.name, why=why if holder.reachable else f"{_away(holder, now)}, {why}"))
    return tuple(sorted(found, key=lambda waiting: waiting.name))


def advance(rotation: Rotation, holders: Iterable[Holder], *, now: float, at_least: float = 0.0) -> Rotation | None:
    """The rotation after what can be done now: the same, the next step, or None when all is done.

    `at_least` is for how many seconds each step lasts, for those that cannot be asked.
    """
    if now - rotation.changed < at_least or waits_for(rotation, holders, now=now):
        return rotation
    following = _NEXT[rotation.stage]
    return msgspec.structs.replace(rotation, stage=following, changed=now) if following is not None else None


def abort(rotation: Rotation, *, now: float) -> Rotation | None:
    """The rotation that undoes this one, None when nothing is left to be undone.

    While the old root signs, the new one is simply not trusted any more. Once the new one signs, the roots change places:
    certificates are of the old one again before the new one is forgotten. Raises `IdentityError` when the old root is
    forgotten already.
    """
    match rotation.stage:
        case "introduce":
            return None
        case "switch":
            return msgspec.structs.replace(rotation, old=rotation.new, new=rotation.old, changed=now)
        case "retire":
            raise IdentityError(
                "the old root is not trusted any more, so there is no way back",
                hint="let it finish, and rotate again: kube-gateway ca rotate --status",
            )


def _behind(holder: Holder, wanted: Plan, stage: Stage) -> str | None:
    if holder.trust_generation != wanted.trust_generation:
        return "it still trusts the old root" if stage == "retire" else "it does not trust both roots yet"
    if stage != "introduce" and holder.issuer != wanted.signer:
        return "its certificate is not of the new root yet"
    return None


def _away(holder: Holder, now: float) -> str:
    return f"away, its certificate lives for {holder.expires - now:.0f} s more"
