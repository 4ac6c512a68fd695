"""Who may reach which port of a pod: the rules as its gateway has them, and what they say of one connection.

The gateway's core decides the same in `native/src/flow/authorization.rs`; the tests hold the two against each other. Both
are pure: the rules, who the peer has proved to be, and the port.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

Effect = Literal["allow", "deny"]

EVERY_PORT = ((1, 65535),)
LARGEST_AUTHORIZATION = 64 * 1024
"""Bytes of the rules of one pod as text: they travel in one message between processes."""


class AccessRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lets peers reach ports, or keeps them from it.

    `peers` are patterns of SPIFFE ids: `*` stands for any characters but the slash, `**` for any at all. With `anyone` it
    is about every peer, also one that has proved nothing. `ports` are ranges, both ends included.
    """

    action: Effect
    anyone: bool
    peers: tuple[str, ...]
    ports: tuple[tuple[int, int], ...]


class PolicyRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one policy says of the pod. `policy` is its `namespace/name`; one with `dry_run` is only counted.

    `default` is what it wants for connections that no rule is about; `allow` is no statement.
    """

    policy: str
    dry_run: bool
    default: Effect
    rules: tuple[AccessRule, ...]


class Authorization(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All policies that select a pod, in the order of their names."""

    policies: tuple[PolicyRules, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a connection may be, and what decided: a policy (empty if none had anything to say) and the number of its
    rule, counted from 1; 0 where no rule is about it."""

    allowed: bool
    policy: str = ""
    rule: int = 0

    @property
    def reason(self) -> str:
        """What decided, for people."""
        if not self.policy:
            return "no policy is about it"
        return f"policy {self.policy} rule {self.rule}" if self.rule else f"policy {self.policy}: no rule allows it"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`verdict` is in force; `dry` is what would be if every dry run ended, None where that is allowed or denied anyway."""

    verdict: Verdict
    dry: Verdict | None = None


def decide_access(authorization: Authorization, *, peer: str | None, port: int) -> Decision:
    """What the rules say of a connection of `peer`, a SPIFFE id, to `port`. None is a peer that has proved nothing.

    A rule that denies wins; then one that allows; then the default, which is to deny if any policy says so or has a rule
    that allows somebody this port. Without any policy all is allowed. Who has proved nothing may be anybody: such a peer
    is met by every rule that denies, and by those that allow anyone.
    """
    verdict = _verdict(authorization, peer=peer, port=port, dry_runs=False)
    if not verdict.allowed:
        return Decision(verdict=verdict)
    dry = _verdict(authorization, peer=peer, port=port, dry_runs=True)
    return Decision(verdict=verdict, dry=None if dry.allowed else dry)


def closed_ports(authorization: Authorization) -> tuple[tuple[int, int], ...]:
    """The ports that a peer which has proved nothing may not reach, as ranges that neither overlap nor touch.

    The same as asking `decide_access` about each port, for all of them at once: sets of ports are bits of numbers.
    """
    every, denied, claimed, opened = _bits(EVERY_PORT), 0, 0, 0
    for policy in authorization.policies:
        if policy.dry_run:
            continue
        if policy.default == "deny":
            claimed = every
        for rule in policy.rules:
            ports = _bits(rule.ports)
            if rule.action == "deny":
                denied |= ports
                continue
            claimed |= ports
            if rule.anyone:
                opened |= ports
    closed = (denied | claimed & ~opened) & every
    return tuple((found.start(), found.end() - 1) for found in _ONES.finditer(f"{closed:b}"[::-1]))


def encode_authorization(authorization: Authorization) -> str:
    """The rules as text; empty where there is no policy."""
    return msgspec.json.encode(authorization).decode() if authorization.policies else ""


def decode_authorization(text: str) -> Authorization:
    """What `encode_authorization` made. Raises `msgspec.DecodeError` (a `ValueError`)."""
    return _decoder.decode(text) if text else Authorization()


def authorization_name(text: str) -> str:
    """What rules are called in logs and reports: the first 12 hexadecimal digits of the text's SHA-256; empty for none."""
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""


DENY_EVERYTHING = Authorization(
    policies=(PolicyRules(policy="(not known yet)", dry_run=False, default="deny", rules=()),)
)
"""What holds for a pod that policies select while its gateway does not know them."""


def _bits(ranges: Iterable[tuple[int, int]]) -> int:
    bits = 0
    for first, last in ranges:
        if first <= last:
            bits |= (1 << last + 1) - (1 << first)
    return bits


def _verdict(authorization: Authorization, *, peer: str | None, port: int, dry_runs: bool) -> Verdict:
    allowed: Verdict | None = None
    refused: Verdict | None = None
    for policy, number, rule in _about(authorization, port, dry_runs=dry_runs):
        if rule is None or rule.action == "allow":
            refused = refused or Verdict(allowed=False, policy=policy)
        if rule is None or not _meets(rule, peer):
            continue
        verdict = Verdict(allowed=rule.action == "allow", policy=policy, rule=number)
        if not verdict.allowed:
            return verdict
        allowed = allowed or verdict
    return allowed or refused or Verdict(allowed=True)


def _about(authorization: Authorization, port: int, *, dry_runs: bool) -> Iterator[tuple[str, int, AccessRule | None]]:
    """What counts for a port: policies that deny by default (as None), and rules with their numbers."""
    for policy in authorization.policies:
        if policy.dry_run and not dry_runs:
            continue
        if policy.default == "deny":
            yield policy.policy, 0, None
        for number, rule in enumerate(policy.rules, start=1):
            if any(first <= port <= last for first, last in rule.ports):
                yield policy.policy, number, rule


def _meets(rule: AccessRule, peer: str | None) -> bool:
    if rule.anyone:
        return True
    if peer is None:
        return rule.action == "deny"
    return any(matches(pattern, peer) for pattern in rule.peers)


def matches(pattern: str, spiffe_id: str) -> bool:
    """Whether a SPIFFE id is one of those that `pattern` stands for."""
    parts = _parts(pattern)
    # The places in the pattern that could be reached so far: no more work than both lengths multiplied.
    places = _and_behind_stars({0}, parts)
    for character in spiffe_id:
        reached = set()
        for place in places:
            part = parts[place] if place < len(parts) else ""
            if part == "**" or (part == "*" and character != "/"):
                reached.add(place)
            elif part == character and part != "*":
                reached.add(place + 1)
        places = _and_behind_stars(reached, parts)
    return len(parts) in places


def _and_behind_stars(places: set[int], parts: tuple[str, ...]) -> set[int]:
    found = set(places)
    for place in places:
        behind = place
        while behind < len(parts) and parts[behind] in {"*", "**"}:
            behind += 1
            found.add(behind)
    return found


@functools.lru_cache(maxsize=4096)
def _parts(pattern: str) -> tuple[str, ...]:
    return tuple(_PART.findall(pattern))


_ONES = re.compile("1+")
_PART = re.compile(r"\*\*|.", re.DOTALL)
_decoder = msgspec.json.Decoder(Authorization)
