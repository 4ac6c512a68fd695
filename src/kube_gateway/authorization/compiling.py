"""What all policies together mean for one pod."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kube_gateway.authorization.reading import port_range
from kube_gateway.authorization.schema import GatewayPolicy, Peer, Requirement, Rule, Selector
from kube_gateway.model.authorization import EVERY_PORT, AccessRule, Authorization, PolicyRules
from kube_gateway.model.pod import Pod


def selects(policy: GatewayPolicy, pod: Pod) -> bool:
    """Whether a policy is about `pod`: one of its own namespace whose labels its selector meets."""
    return policy.namespace == pod.namespace and meets(policy.spec.selector, pod.labels)


def meets(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Kubernetes' rules for label selectors; an empty one meets everything."""
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _meets(requirement, labels) for requirement in selector.match_expressions
    )


def _meets(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case "In":
            return labels.get(requirement.key) in requirement.values
        case "NotIn":
            return labels.get(requirement.key) not in requirement.values
        case "Exists":
            return requirement.key in labels
        case "DoesNotExist":
            return requirement.key not in labels


def compile_for(pod: Pod, policies: Iterable[GatewayPolicy], *, trust_domain: str) -> Authorization:
    """The rules for `pod`, in the order of the policies' names."""
    selecting = sorted((policy for policy in policies if selects(policy, pod)), key=lambda policy: policy.key)
    return Authorization(policies=tuple(compile_policy(policy, trust_domain=trust_domain) for policy in selecting))


def compile_policy(policy: GatewayPolicy, *, trust_domain: str) -> PolicyRules:
    """One policy as gateways have it."""
    return PolicyRules(
        policy=policy.key,
        dry_run=policy.spec.dry_run,
        default=policy.spec.default,
        rules=tuple(_rule(rule, policy.namespace, trust_domain) for rule in policy.spec.rules),
    )


def _rule(rule: Rule, namespace: str, trust_domain: str) -> AccessRule:
    return AccessRule(
        action=rule.action,
        anyone=any(peer.anyone for peer in rule.peers),
        peers=tuple(_pattern(peer, namespace, trust_domain) for peer in rule.peers if not peer.anyone),
        ports=tuple(port_range(port) for port in rule.ports) if rule.ports else EVERY_PORT,
    )


def _pattern(peer: Peer, namespace: str, trust_domain: str) -> str:
    if peer.identity:
        return peer.identity
    # An account alone is one of the policy's own namespace: another namespace's account of that name is somebody else.
    return f"spiffe://{trust_domain}/ns/{peer.namespace or namespace}/sa/{peer.service_account or '*'}"
