"""Does the watcher run, may it do what it has to, does one lead, and does it say what it knows?"""

from __future__ import annotations

import asyncio
import time

import msgspec

from kube_gateway.checks.asking import Refusal, known, read
from kube_gateway.checks.clock import SKEW, server_time
from kube_gateway.checks.model import Category, Check, Finding, Outcome, bad, ok
from kube_gateway.checks.objects import Deployment, LeaseRecord
from kube_gateway.checks.permissions import Permission, allowed, rules, service_account, watcher_permissions
from kube_gateway.checks.reported import FRESH, INSTALL_AGAIN, NoSummary, logs_of, read_summary
from kube_gateway.checks.session import Session
from kube_gateway.watcher.configuration import LEASE, SERVICE_ACCOUNT
from kube_gateway.watcher.objects import seconds
from kube_gateway.watcher.summary import Summary

DEPLOYMENT = "kube-gateway-watcher"
RENEWED_WITHIN = 15.0
"""Seconds after which another watcher takes over."""

TOO_MUCH = (
    Permission(verb="list", group="", resource="secrets"),
    Permission(verb="get", group="", resource="secrets"),
    Permission(verb="create", group="", resource="pods"),
    Permission(verb="create", group="", resource="pods/exec"),
)
"""What whoever may put containers into pods should not have as well, as the watcher never needs it."""


class WatcherFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the watcher; `now` is in seconds by the server's clock."""

    namespace: str
    deployment: Deployment | Refusal | None
    rights: dict[Permission, bool] | Refusal
    lease: LeaseRecord | Refusal | None
    summary: Summary | NoSummary | Refusal
    now: float


async def fetch(session: Session) -> WatcherFacts:
    """Raises `KubernetesError`."""
    client, namespace = session.client, session.namespace
    deployment, rights, lease, summary = await asyncio.gather(
        read(client, f"/apis/apps/v1/namespaces/{namespace}/deployments/{DEPLOYMENT}", Deployment),
        allowed(
            client,
            (*watcher_permissions(namespace), *TOO_MUCH),
            subject=service_account(SERVICE_ACCOUNT, namespace),
        ),
        read(client, f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE}", LeaseRecord),
        read_summary(client, namespace),
    )
    return WatcherFacts(
        namespace=namespace,
        deployment=deployment,
        rights=rights,
        lease=lease,
        summary=summary,
        now=await server_time(client, otherwise=time.time()),
    )


def _is_installed(facts: WatcherFacts) -> Outcome:
    where = f"{facts.namespace}/{DEPLOYMENT}"
    return bad(f"there is no Deployment {where}") if known(facts.deployment) is None else ok(where)


def _is_ready(facts: WatcherFacts) -> Outcome:
    deployment = known(facts.deployment) or Deployment()
    said = f"{deployment.status.ready_replicas} of {deployment.spec.replicas}"
    if deployment.status.ready_replicas:
        return ok(said)
    return bad(f"{said} are ready", hint=f"kubectl describe pods -n {facts.namespace}; {logs_of(facts.namespace)}")


def _is_complete(facts: WatcherFacts) -> Outcome:
    deployment = known(facts.deployment) or Deployment()
    wanted, ready = deployment.spec.replicas, deployment.status.ready_replicas
    if ready >= wanted > 0:
        return ok()
    return bad(f"{ready} of {wanted} are ready", hint=f"kubectl describe pods -n {facts.namespace}")


def _may_do_its_work(facts: WatcherFacts) -> Outcome:
    rights = known(facts.rights)
    missing = rules(permission for permission in watcher_permissions(facts.namespace) if not rights[permission])
    findings = tuple(Finding(message=rule) for rule in missing)
    return bad(f"{SERVICE_ACCOUNT} lacks these", findings=findings) if missing else ok()


def _may_do_no_more(facts: WatcherFacts) -> Outcome:
    rights = known(facts.rights)
    excess = [f"{one.verb} {one.resource}" for one in TOO_MUCH if rights[one]]
    return bad(f"{SERVICE_ACCOUNT} may also {', '.join(excess)}") if excess else ok()


def _leads(facts: WatcherFacts) -> Outcome:
    lease = known(facts.lease)
    holder = (lease.spec.holder_identity if lease else "") or ""
    if lease is None or not holder:
        return bad("nobody holds the Lease", hint=logs_of(facts.namespace))
    name = holder.partition("_")[0]
    age = facts.now - (_written(lease) or seconds(lease.spec.renew_time))
    if age > RENEWED_WITHIN:
        return bad(f"{name} has not renewed its Lease for {age:.0f} s", hint=logs_of(facts.namespace))
    return ok(name)


def _clock_agrees(facts: WatcherFacts) -> Outcome:
    lease = known(facts.lease)
    written, renewed = (_written(lease), seconds(lease.spec.renew_time)) if lease else (0.0, 0.0)
    skew = renewed - written
    if not written or not renewed or abs(skew) <= SKEW:
        return ok()
    name = ((lease.spec.holder_identity if lease else "") or "").partition("_")[0]
    return bad(f"the clock of {name} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the API server's")


def _reports(facts: WatcherFacts) -> Outcome:
    # That there is none is not unknown, but wrong.
    if isinstance(facts.summary, NoSummary):
        return bad(facts.summary.message, hint=facts.summary.hint)
    summary = known(facts.summary)
    age = facts.now - summary.time
    if age > FRESH:
        return bad(f"its summary is {age:.0f} s old", hint=logs_of(facts.namespace))
    left_out = f", {summary.left_out} left out" if summary.left_out else ""
    return ok(f"of {_pods(len(summary.pods))}{left_out}, {max(age, 0):.0f} s ago")


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _written(lease: LeaseRecord) -> float:
    """When the server last saw a change of it, 0 if it does not say."""
    return max((seconds(fields.time) for fields in lease.metadata.managed_fields), default=0.0)


WATCHER: Category[WatcherFacts] = Category(
    name="watcher",
    fetch=fetch,
    checks=(
        Check(
            description="the watcher is installed",
            judge=_is_installed,
            hint=f"kube-gateway check --pre, then {INSTALL_AGAIN}",
            stops="everything",
        ),
        Check(description="at least one replica is ready", judge=_is_ready, retry=True),
        Check(description="all replicas are ready", judge=_is_complete, warns=True, retry=True),
        Check(description="it may do what it has to", judge=_may_do_its_work, hint=INSTALL_AGAIN),
        Check(
            description="it may do no more than that",
            judge=_may_do_no_more,
            hint="find the role: kubectl get clusterrolebindings,rolebindings -A -o wide | grep system:serviceaccount",
            warns=True,
        ),
        Check(description="one replica leads", judge=_leads, retry=True),
        Check(
            description="the leader's clock agrees with the server's",
            judge=_clock_agrees,
            hint="set the clocks of the nodes, as certificates are valid by them",
            warns=True,
        ),
        Check(description="it publishes what gateways report", judge=_reports, retry=True),
    ),
)
