"""Has every pod that is enrolled a gateway that works?"""

from __future__ import annotations

import datetime

import msgspec

from kube_gateway.checks.asking import known
from kube_gateway.checks.cluster_pods import Enrolled, read_enrolled
from kube_gateway.checks.enrolment import PodView
from kube_gateway.checks.model import Category, Check, Finding, Outcome, bad, ok
from kube_gateway.checks.reported import logs_of
from kube_gateway.checks.session import Session

LATE = 0.8
"""Part of a certificate's life; it is renewed from 0.4 on, so whoever is here has failed several times."""

_AS_ASKED = {"encrypting", "ai", "off", "waiting"}


class GatewayFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of pods; `namespace` is the watcher's."""

    namespace: str
    enrolled: Enrolled


async def fetch(session: Session) -> GatewayFacts:
    """Raises `KubernetesError`."""
    enrolled = await read_enrolled(session.client, watcher=session.namespace)
    return GatewayFacts(namespace=session.namespace, enrolled=enrolled)


def _all_work(facts: GatewayFacts) -> Outcome:
    wanted = _wanted(facts)
    findings = tuple(
        Finding(about=pod.key, message=pod.message, hint=pod.hint)
        for pod in wanted
        if pod.state not in _AS_ASKED or (pod.reason and pod.state == "encrypting")
    )
    if findings:
        return bad(f"not so for {len(findings)} of {len(wanted)}", findings=findings)
    counts = {state: sum(pod.state == state for pod in wanted) for state in ("encrypting", "ai", "off", "waiting")}
    return ok(", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no pod is enrolled")


def _namespaces_count(facts: GatewayFacts) -> Outcome:
    known(facts.enrolled.pods)
    if facts.enrolled.blind is not None:
        known(facts.enrolled.blind)
    return ok()


def _certificates_last(facts: GatewayFacts) -> Outcome:
    summary = known(facts.enrolled.summary)
    findings = []
    for pod in _wanted(facts):
        expires = pod.reported.certificate_expires if pod.reported else 0.0
        # Both by the watcher's clock, which certificates are issued by.
        left = expires - summary.time
        if expires and left < (1 - LATE) * summary.certificate_life:
            when = f"{datetime.datetime.fromtimestamp(expires, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
            message = f"it ends at {when}" if left > 0 else f"it ended at {when}"
            findings.append(Finding(about=pod.key, message=message, hint=logs_of(facts.namespace)))
    return bad("these are", findings=tuple(findings)) if findings else ok()


def _same_image(facts: GatewayFacts) -> Outcome:
    summary = known(facts.enrolled.summary)
    if not summary.image:
        return bad("not known: the watcher does not say which that is", hint=logs_of(facts.namespace))
    findings = tuple(
        Finding(about=pod.key, message=f"gateway {pod.generation} runs {pod.image}")
        for pod in _wanted(facts)
        if pod.generation and pod.exit_code is None and pod.image != summary.image
    )
    if findings:
        return bad(f"these do not run {summary.image}", findings=findings)
    return ok(summary.image)


def _room_for_all(facts: GatewayFacts) -> Outcome:
    summary = known(facts.enrolled.summary)
    if summary.left_out:
        return bad(f"pods left out as there is no room: {summary.left_out}; what their gateways carry is not known")
    return ok()


def _wanted(facts: GatewayFacts) -> list[PodView]:
    return [pod for pod in known(facts.enrolled.pods) if pod.wanted]


GATEWAYS: Category[GatewayFacts] = Category(
    name="gateways",
    fetch=fetch,
    checks=(
        Check(description="every enrolled pod has a gateway that does what was asked", judge=_all_work, retry=True),
        Check(
            description="pods enrolled by their namespace are seen",
            judge=_namespaces_count,
            warns=True,
        ),
        Check(description=f"no certificate is past {LATE:.0%} of its life", judge=_certificates_last),
        Check(
            description="gateways run the image that the watcher gives out",
            judge=_same_image,
            hint="wait: the watcher replaces them one after the other",
            warns=True,
        ),
        Check(
            description="the watcher's summary has all pods",
            judge=_room_for_all,
            hint="kubectl logs -c kube-gateway of such a pod",
            warns=True,
        ),
    ),
)
