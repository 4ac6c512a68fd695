"""What is most likely not meant in policies that can be read."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kube_gateway.authorization.compiling import compile_policy
from kube_gateway.authorization.schema import GatewayPolicy
from kube_gateway.model.authorization import AccessRule, PolicyRules

_ID = 6
"""Parts between slashes of `spiffe://domain/ns/namespace/sa/account`, without the empty one."""


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is a policy (`namespace/name`) and the field."""

    at: str
    message: str
    hint: str


def remarks_on(policies: tuple[GatewayPolicy, ...], *, trust_domain: str) -> tuple[Remark, ...]:
    """All remarks, in the order of the policies."""
    return tuple(
        remark for policy in policies for remark in _remarks(compile_policy(policy, trust_domain=trust_domain))
    )


def _remarks(policy: PolicyRules) -> Iterator[Remark]:
    if not policy.rules and policy.default == "allow":
        yield _remark(policy, "spec.rules", "it has no rules and allows by default: it does nothing", "add rules")
    if not policy.rules and policy.default == "deny":
        yield _remark(
            policy,
            "spec.rules",
            "nobody reaches the selected pods, unless another policy allows it; probes of their node do",
            "that may be meant: the default of a namespace",
        )
    for index, rule in enumerate(policy.rules):
        yield from _remarks_on_rule(policy, index, rule)


def _remarks_on_rule(policy: PolicyRules, index: int, rule: AccessRule) -> Iterator[Remark]:
    at = f"spec.rules[{index}]"
    if rule.anyone and rule.action == "allow":
        yield _remark(
            policy,
            f"{at}.from",
            "anyone may reach these ports, also in clear",
            'everybody who has proved who it is: identity: "spiffe://**"',
        )
    for pattern in rule.peers:
        if "**" not in pattern and len([part for part in pattern.split("/") if part]) != _ID:
            yield _remark(
                policy,
                f"{at}.from",
                f"no workload has an id like {pattern}, as * does not stand for a slash",
                "ids are spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT; ** stands for anything",
            )
    for earlier, other in enumerate(policy.rules):
        if rule.action == "allow" and other.action == "deny" and other.anyone and _covers(other, rule):
            yield _remark(
                policy,
                at,
                f"it allows what rule {earlier + 1} denies to everybody, and a rule that denies wins",
                "name whom to deny, or remove one of the two",
            )
        if earlier < index and other == rule:
            yield _remark(policy, at, f"it is the same as rule {earlier + 1}", "remove one of the two")


def _covers(wide: AccessRule, narrow: AccessRule) -> bool:
    return all(any(low <= first and last <= high for low, high in wide.ports) for first, last in narrow.ports)


def _remark(policy: PolicyRules, at: str, message: str, hint: str) -> Remark:
    return Remark(at=f"{policy.policy} {at}", message=message, hint=hint)
