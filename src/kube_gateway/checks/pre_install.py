"""Can the watcher be installed, and will the cluster let it put gateways into pods?"""

from __future__ import annotations

import asyncio

import msgspec

from kube_gateway.checks.admission import (
    Binding,
    Labels,
    Policy,
    WebhookConfiguration,
    policies_that_see,
    webhooks_that_see,
)
from kube_gateway.checks.asking import Refusal, known, read, read_all
from kube_gateway.checks.model import Category, Check, Finding, Outcome, bad, ok
from kube_gateway.checks.objects import Deployment
from kube_gateway.checks.permissions import (
    Permission,
    allowed,
    grant_permissions,
    install_permissions,
    rules,
    watcher_permissions,
)
from kube_gateway.checks.session import Session
from kube_gateway.checks.watcher import DEPLOYMENT
from kube_gateway.watcher.configuration import SERVICE_ACCOUNT
from kube_gateway.watcher.objects import NamespaceObject

LEVEL = "pod-security.kubernetes.io/enforce"
_REFUSING = {"baseline", "restricted"}
_WATCHER_LABELS = "app.kubernetes.io/name=kube-gateway,app.kubernetes.io/component=watcher"
_REGISTRATION = "/apis/admissionregistration.k8s.io/v1"


class PreInstallFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is there before the watcher is. `own` is its Deployment where it is to be, `others` are all of them."""

    namespace: str
    rights: dict[Permission, bool] | Refusal
    webhooks: tuple[WebhookConfiguration, ...] | Refusal
    policies: tuple[Policy, ...] | Refusal
    bindings: tuple[Binding, ...] | Refusal
    namespaces: tuple[NamespaceObject, ...] | Refusal
    own: Deployment | Refusal | None
    others: tuple[Deployment, ...] | Refusal


async def fetch(session: Session) -> PreInstallFacts:
    """Raises `KubernetesError`."""
    client, namespace = session.client, session.namespace
    wanted = (*install_permissions(namespace), *grant_permissions(namespace), *watcher_permissions(namespace))
    mutating, validating, policies, bindings = await asyncio.gather(
        read_all(client, f"{_REGISTRATION}/mutatingwebhookconfigurations", WebhookConfiguration),
        read_all(client, f"{_REGISTRATION}/validatingwebhookconfigurations", WebhookConfiguration),
        read_all(client, f"{_REGISTRATION}/validatingadmissionpolicies", Policy),
        read_all(client, f"{_REGISTRATION}/validatingadmissionpolicybindings", Binding),
    )
    namespaces, own, others = await asyncio.gather(
        read_all(client, "/api/v1/namespaces", NamespaceObject),
        read(client, f"/apis/apps/v1/namespaces/{namespace}/deployments/{DEPLOYMENT}", Deployment),
        read_all(client, "/apis/apps/v1/deployments", Deployment, parameters={"labelSelector": _WATCHER_LABELS}),
    )
    return PreInstallFacts(
        namespace=namespace,
        rights=await allowed(client, wanted),
        webhooks=_both(mutating, validating),
        policies=policies,
        bindings=bindings,
        namespaces=namespaces,
        own=own,
        others=others,
    )


def _both(
    mutating: tuple[WebhookConfiguration, ...] | Refusal, validating: tuple[WebhookConfiguration, ...] | Refusal
) -> tuple[WebhookConfiguration, ...] | Refusal:
    if isinstance(mutating, Refusal):
        return mutating
    return validating if isinstance(validating, Refusal) else (*mutating, *validating)


def _may_install(facts: PreInstallFacts) -> Outcome:
    rights = known(facts.rights)
    missing = rules(one for one in install_permissions(facts.namespace) if not rights[one])
    return _lacking(missing, "to create what the manifest has") if missing else ok()


def _may_grant(facts: PreInstallFacts) -> Outcome:
    rights = known(facts.rights)
    if all(rights[one] for one in grant_permissions(facts.namespace)):
        return ok()
    # Whoever has the rights may grant them.
    missing = rules(one for one in watcher_permissions(facts.namespace) if not rights[one])
    return _lacking(missing, "to grant the watcher its rights") if missing else ok()


def _lacking(missing: tuple[str, ...], purpose: str) -> Outcome:
    findings = tuple(Finding(message=rule) for rule in missing)
    return bad(f"these are missing {purpose}", findings=findings)


def _no_webhook(facts: PreInstallFacts) -> Outcome:
    found = webhooks_that_see(known(facts.webhooks), _labels(facts))
    findings = tuple(Finding(about="webhook", message=name) for name in found)
    message = "no gateway can be added where one of these refuses, or does not answer"
    return bad(message, findings=findings) if found else ok()


def _no_policy(facts: PreInstallFacts) -> Outcome:
    found = policies_that_see(known(facts.policies), known(facts.bindings), _labels(facts))
    findings = tuple(Finding(about="policy", message=name) for name in found)
    return bad("no gateway can be added where one of these denies it", findings=findings) if found else ok()


def _labels(facts: PreInstallFacts) -> tuple[Labels, ...]:
    """Of each namespace that may have enrolled pods."""
    if isinstance(facts.namespaces, Refusal):
        return (None,)
    return tuple(one.metadata.labels or {} for one in facts.namespaces if one.metadata.name != facts.namespace)


def _namespaces_admit(facts: PreInstallFacts) -> Outcome:
    levels = {
        one.metadata.name: (one.metadata.labels or {}).get(LEVEL, "")
        for one in known(facts.namespaces)
        if one.metadata.name != facts.namespace
    }
    findings = tuple(Finding(about=name, message=level) for name, level in levels.items() if level in _REFUSING)
    if not findings:
        return ok(f"all {len(levels)}")
    user = f"system:serviceaccount:{facts.namespace}:{SERVICE_ACCOUNT}"
    return bad(
        f"not so for {len(findings)} of {len(levels)}: these enforce a Pod Security level that admits no gateway",
        hint=f"where pods are to be enrolled: kubectl label namespace NAME --overwrite {LEVEL}=privileged, "
        f"or exempt the user {user} in the configuration of Pod Security admission",
        findings=findings,
    )


def _no_other(facts: PreInstallFacts) -> Outcome:
    everywhere = () if isinstance(facts.others, Refusal) else facts.others
    elsewhere = [one.metadata for one in everywhere if one.metadata.namespace != facts.namespace]
    if elsewhere:
        found = ", ".join(f"{one.namespace}/{one.name}" for one in elsewhere)
        hint = f"kubectl delete deployment -n {elsewhere[0].namespace} {elsewhere[0].name}"
        return bad(f"another watcher is installed, and the two would not know of each other: {found}", hint=hint)
    if known(facts.own) is not None:
        return bad(f"{facts.namespace}/{DEPLOYMENT} is there", hint="kube-gateway check, without --pre")
    known(facts.others)
    return ok()


PRE_INSTALL: Category[PreInstallFacts] = Category(
    name="pre-install",
    fetch=fetch,
    checks=(
        Check(
            description="you may create what the manifest has",
            judge=_may_install,
            hint="have these added to a role of yours, or let an administrator install it",
        ),
        Check(
            description="you may grant the watcher its rights",
            judge=_may_grant,
            hint="have these added to a role of yours, or let an administrator install it",
        ),
        Check(
            description="no webhook has to admit gateways",
            judge=_no_webhook,
            hint="let these admit pods/ephemeralcontainers with the image of kube-gateway; "
            "kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations NAME -o yaml",
            warns=True,
        ),
        Check(
            description="no admission policy has to admit gateways",
            judge=_no_policy,
            hint="let these admit pods/ephemeralcontainers with the image of kube-gateway; "
            "kubectl get validatingadmissionpolicies NAME -o yaml",
            warns=True,
        ),
        Check(description="namespaces admit gateways", judge=_namespaces_admit, warns=True),
        Check(description="no watcher is installed yet", judge=_no_other),
    ),
)
