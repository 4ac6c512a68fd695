"""Who may reach a port of a pod, and which rule decides, in words."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kube_gateway.model.authorization import Authorization, decide_access

_MOST_PEERS = 5


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`decided` is what decides; `would_deny` what a dry run would deny it by, empty if none would. `lines` are all rules
    and defaults about the port."""

    allowed: bool
    decided: str
    would_deny: str
    policies: tuple[str, ...]
    lines: tuple[str, ...]


def explain(authorization: Authorization, *, peer: str | None, port: int) -> Explanation:
    """Why `peer` (None: one that proves nothing) may reach `port`, or not."""
    decision = decide_access(authorization, peer=peer, port=port)
    return Explanation(
        allowed=decision.verdict.allowed,
        decided=decision.verdict.reason,
        would_deny=decision.dry.reason if decision.dry is not None else "",
        policies=tuple(policy.policy for policy in authorization.policies),
        lines=tuple(_lines(authorization, port)),
    )


def _lines(authorization: Authorization, port: int) -> Iterator[str]:
    for policy in authorization.policies:
        dry = " (dry run)" if policy.dry_run else ""
        for number, rule in enumerate(policy.rules, start=1):
            if any(first <= port <= last for first, last in rule.ports):
                whom = "anyone" if rule.anyone else ", ".join(rule.peers[:_MOST_PEERS])
                more = len(rule.peers) - _MOST_PEERS
                rest = f" and {more} more" if more > 0 and not rule.anyone else ""
                yield f"{policy.policy} rule {number}{dry}: {rule.action} {whom}{rest}"
        if policy.default == "deny":
            yield f"{policy.policy}{dry}: deny by default"
