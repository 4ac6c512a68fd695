"""What is found before the watcher is installed."""

from __future__ import annotations

import msgspec
import pytest
from facts import DENIED, changed, result, told

from kube_gateway.checks.admission import Binding, Policy, Selector, WebhookConfiguration, selects
from kube_gateway.checks.objects import Deployment
from kube_gateway.checks.permissions import RESOURCES, grant_permissions, install_permissions, watcher_permissions
from kube_gateway.checks.pre_install import PRE_INSTALL, PreInstallFacts
from kube_gateway.kube.client import Metadata
from kube_gateway.manifests import objects
from kube_gateway.watcher.objects import NamespaceObject

HERE = "kube-gateway"
ALL = (*install_permissions(HERE), *grant_permissions(HERE), *watcher_permissions(HERE))
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["pods/ephemeralcontainers"]}


def namespace(name, **labels):
    return NamespaceObject(
        metadata=Metadata(name=name, labels={key.replace("__", "/"): v for key, v in labels.items()})
    )


def labelled(name, level):
    return NamespaceObject(metadata=Metadata(name=name, labels={"pod-security.kubernetes.io/enforce": level}))


FACTS = PreInstallFacts(
    namespace=HERE,
    rights=dict.fromkeys(ALL, True),
    webhooks=(),
    policies=(),
    bindings=(),
    namespaces=(namespace("shop", team="a"), namespace("default")),
    own=None,
    others=(),
)
CREATE, GRANT, WEBHOOKS, POLICIES = "you may create", "you may grant", "no webhook", "no admission policy"
ADMIT, NONE_YET = "namespaces admit", "no watcher"


def pre(description, **changes):
    return result(PRE_INSTALL, description, changed(FACTS, **changes))


def test_a_cluster_that_is_fit():
    assert [pre(check.description).status for check in PRE_INSTALL.checks] == ["ok"] * 6


def test_every_kind_of_the_manifest_is_asked_for():
    assert {found["kind"] for found in objects()} == set(RESOURCES)


def test_what_may_not_be_created_is_named():
    lost = [one for one in ALL if one.resource == "deployments" and one.verb == "create"]
    found = pre(CREATE, rights={**FACTS.rights, **dict.fromkeys(lost, False)})
    assert told(found) == ("failed", "these are missing to create what the manifest has")
    assert [finding.message for finding in found.findings] == [
        '{"apiGroups":["apps"],"resources":["deployments"],"verbs":["create"]} in the namespace kube-gateway'
    ]


def test_rights_may_be_granted_by_whoever_may_grant_any_or_has_them():
    without = {**FACTS.rights, **dict.fromkeys(grant_permissions(HERE), False)}
    assert pre(GRANT, rights=without).status == "ok"
    lost = [one for one in watcher_permissions(HERE) if one.resource == "pods/status"]
    found = pre(GRANT, rights={**without, **dict.fromkeys(lost, False)})
    assert [finding.message for finding in found.findings] == [
        '{"apiGroups":[""],"resources":["pods/status"],"verbs":["patch"]}'
    ]
    assert pre(GRANT, rights={**FACTS.rights, **dict.fromkeys(lost, False)}).status == "ok"


def webhook(*, selector=None, failure="Fail", **rule):
    body = {"name": "images.example.org", "rules": [{**RULE, **rule}], "failurePolicy": failure}
    if selector is not None:
        body["namespaceSelector"] = selector
    return msgspec.convert({"metadata": {"name": "images"}, "webhooks": [body]}, WebhookConfiguration)


@pytest.mark.parametrize(
    ("rule", "sees"),
    [
        ({}, True),
        ({"resources": ["pods/*"]}, True),
        ({"resources": ["*/*"]}, True),
        ({"resources": ["pods/status"]}, True),
        ({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"]}, True),
        ({"resources": ["pods"]}, False),
        ({"resources": ["*"]}, False),
        ({"resources": ["pods/exec"]}, False),
        ({"operations": ["CREATE"]}, False),
        ({"apiGroups": ["apps"]}, False),
        ({"failure": "Ignore"}, False),
        ({"selector": {"matchLabels": {"team": "a"}}}, True),
        ({"selector": {"matchLabels": {"team": "b"}}}, False),
        ({"selector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]}}, False),
    ],
)
def test_webhooks_that_see_a_gateway_being_added(rule, sees):
    found = pre(WEBHOOKS, webhooks=(webhook(**rule),))
    assert found.status == ("warning" if sees else "ok")
    assert [finding.message for finding in found.findings] == ["images (images.example.org)"] * sees


def test_the_watchers_own_namespace_does_not_count():
    only = (namespace(HERE, team="b"), namespace("shop"))
    selector = {"matchLabels": {"team": "b"}}
    assert pre(WEBHOOKS, namespaces=only, webhooks=(webhook(selector=selector),)).status == "ok"


def test_where_namespaces_are_not_known_every_selector_may_mean_one():
    selector = {"matchLabels": {"team": "b"}}
    assert pre(WEBHOOKS, namespaces=DENIED, webhooks=(webhook(selector=selector),)).status == "warning"


POLICY = msgspec.convert(
    {"metadata": {"name": "no-root"}, "spec": {"matchConstraints": {"resourceRules": [RULE]}}}, Policy
)


@pytest.mark.parametrize(
    ("binding", "sees"),
    [
        ({}, True),
        ({"validationActions": ["Warn", "Audit"]}, False),
        ({"policyName": "another"}, False),
        ({"matchResources": {"namespaceSelector": {"matchLabels": {"team": "a"}}}}, True),
        ({"matchResources": {"namespaceSelector": {"matchLabels": {"team": "z"}}}}, False),
        ({"matchResources": {"resourceRules": [{**RULE, "resources": ["pods"]}]}}, False),
        ({"matchResources": {"excludeResourceRules": [RULE]}}, False),
    ],
)
def test_policies_that_may_deny_a_gateway(binding, sees):
    spec = {"policyName": "no-root", "validationActions": ["Deny"], **binding}
    found = pre(POLICIES, policies=(POLICY,), bindings=(msgspec.convert({"spec": spec}, Binding),))
    assert found.status == ("warning" if sees else "ok")


def test_a_policy_that_is_not_bound_denies_nothing():
    assert pre(POLICIES, policies=(POLICY,)).status == "ok"


@pytest.mark.parametrize(
    ("operator", "values", "meant"),
    [
        ("In", ["a"], True),
        ("NotIn", ["a"], False),
        ("NotIn", ["b"], True),
        ("Exists", None, True),
        ("DoesNotExist", None, False),
        ("Unheard", None, True),
    ],
)
def test_selectors(operator, values, meant):
    expression = {"key": "team", "operator": operator, "values": values}
    selector = msgspec.convert({"matchExpressions": [expression]}, Selector)
    assert selects(selector, {"team": "a"}) is meant


def test_namespaces_whose_pod_security_refuses_gateways_are_named():
    levels = (
        labelled("a", "baseline"),
        labelled("b", "restricted"),
        labelled("c", "privileged"),
        labelled(HERE, "restricted"),
    )
    found = pre(ADMIT, namespaces=levels)
    assert found.status == "warning"
    assert [(finding.about, finding.message) for finding in found.findings] == [("a", "baseline"), ("b", "restricted")]
    assert "pod-security.kubernetes.io/enforce=privileged" in found.hint
    assert pre(ADMIT, namespaces=DENIED).status == "warning"


def test_other_installations():
    there = Deployment(metadata=Metadata(name="kube-gateway-watcher", namespace=HERE))
    assert told(pre(NONE_YET, own=there)) == ("failed", "kube-gateway/kube-gateway-watcher is there")
    elsewhere = Deployment(metadata=Metadata(name="kube-gateway-watcher", namespace="mesh"))
    found = pre(NONE_YET, others=(elsewhere,))
    assert found.message.endswith(": mesh/kube-gateway-watcher")
    assert found.hint == "kubectl delete deployment -n mesh kube-gateway-watcher"
    assert pre(NONE_YET, others=DENIED).status == "warning"
