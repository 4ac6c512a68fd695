"""Which admission rules see a gateway being added. Pure.

Adding one is an update of the subresource `pods/ephemeralcontainers`; saying what became of it, one of `pods/status`. A
rule for `pods` alone sees neither.
Source: Kubernetes API reference, admissionregistration.k8s.io/v1; kubernetes.io, 'Dynamic Admission Control'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from kube_gateway.kube.client import Metadata

SUBRESOURCES = ("ephemeralcontainers", "status")


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base."""


class Rule(_Object, frozen=True):
    """Which requests are meant."""

    api_groups: tuple[str, ...] = ()
    api_versions: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()


class Requirement(_Object, frozen=True):
    """One expression of a selector."""

    key: str
    operator: str
    values: tuple[str, ...] | None = None


class Selector(_Object, frozen=True):
    """Which labels are meant; empty means all."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None


class Webhook(_Object, frozen=True):
    """One webhook of a configuration."""

    name: str = ""
    rules: tuple[Rule, ...] | None = None
    failure_policy: str = "Fail"
    namespace_selector: Selector | None = None


class WebhookConfiguration(_Object, frozen=True):
    """A mutating or validating one."""

    metadata: Metadata = Metadata()
    webhooks: tuple[Webhook, ...] | None = None


class MatchResources(_Object, frozen=True):
    """What a policy, or its binding, is for. A binding without rules is for all that its policy is for."""

    resource_rules: tuple[Rule, ...] | None = None
    exclude_resource_rules: tuple[Rule, ...] | None = None
    namespace_selector: Selector | None = None


class PolicySpec(_Object, frozen=True):
    """What a ValidatingAdmissionPolicy is for."""

    match_constraints: MatchResources | None = None
    failure_policy: str = "Fail"


class Policy(_Object, frozen=True):
    """A ValidatingAdmissionPolicy."""

    metadata: Metadata = Metadata()
    spec: PolicySpec = PolicySpec()


class BindingSpec(_Object, frozen=True):
    """Where a policy is in force."""

    policy_name: str = ""
    match_resources: MatchResources | None = None
    validation_actions: tuple[str, ...] = ()


class Binding(_Object, frozen=True):
    """A ValidatingAdmissionPolicyBinding."""

    metadata: Metadata = Metadata()
    spec: BindingSpec = BindingSpec()


Labels = Mapping[str, str] | None
"""Of a namespace; None where they are not known, and every selector may mean it."""


def webhooks_that_see(configurations: Iterable[WebhookConfiguration], namespaces: Iterable[Labels]) -> tuple[str, ...]:
    """`configuration/webhook` of those that must answer before a gateway is added in one of `namespaces`."""
    labels = tuple(namespaces)
    return tuple(
        f"{configuration.metadata.name} ({webhook.name})"
        for configuration in configurations
        for webhook in configuration.webhooks or ()
        if webhook.failure_policy == "Fail"
        and any(map(_sees, webhook.rules or ()))
        and any(selects(webhook.namespace_selector, one) for one in labels)
    )


def policies_that_see(
    policies: Iterable[Policy], bindings: Iterable[Binding], namespaces: Iterable[Labels]
) -> tuple[str, ...]:
    """The names of those that are in force and may deny a gateway in one of `namespaces`."""
    labels = tuple(namespaces)
    return tuple(
        policy.metadata.name
        for policy in policies
        if policy.spec.failure_policy == "Fail"
        and _covers(policy.spec.match_constraints, labels, without_rules=False)
        and any(
            binding.spec.policy_name == policy.metadata.name
            and "Deny" in binding.spec.validation_actions
            and _covers(binding.spec.match_resources, labels, without_rules=True)
            for binding in bindings
        )
    )


def selects(selector: Selector | None, labels: Labels) -> bool:
    """Whether a selector means an object with these labels."""
    if selector is None or labels is None:
        return True
    return all(labels.get(key) == value for key, value in (selector.match_labels or {}).items()) and all(
        _holds(requirement, labels) for requirement in selector.match_expressions or ()
    )


def _holds(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(requirement.key), requirement.values or ()
    match requirement.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return True  # an operator that we do not know may mean anything


def _covers(match: MatchResources | None, namespaces: tuple[Labels, ...], *, without_rules: bool) -> bool:
    if match is None:
        return without_rules
    meant = any(map(_sees, match.resource_rules)) if match.resource_rules else without_rules
    excluded = any(map(_sees, match.exclude_resource_rules or ()))
    return meant and not excluded and any(selects(match.namespace_selector, one) for one in namespaces)


def _sees(rule: Rule) -> bool:
    return (
        not {"", "*"}.isdisjoint(rule.api_groups)
        and not {"v1", "*"}.isdisjoint(rule.api_versions)
        and not {"UPDATE", "*"}.isdisjoint(rule.operations)
        and any(_is_ours(resource) for resource in rule.resources)
    )


def _is_ours(resource: str) -> bool:
    kind, _, subresource = resource.partition("/")
    return kind in {"pods", "*"} and subresource in {*SUBRESOURCES, "*"}
