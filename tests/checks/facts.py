"""Facts to judge: a cluster that is well, to be changed by each test."""

from __future__ import annotations

import msgspec

from kube_gateway.checks.asking import Refusal
from kube_gateway.checks.enrolment import view
from kube_gateway.checks.model import Result, judged, result_of
from kube_gateway.watcher.objects import PodObject
from kube_gateway.watcher.summary import PodSummary, Summary

NOW = 1_800_000_000.0
DENIED = Refusal("you may not list things", 'have this rule added: {"verbs":["list"]}')


def result(category, description, facts) -> Result:
    """What is told of the check whose description begins so."""
    (check,) = [check for check in category.checks if check.description.startswith(description)]
    return result_of(check, judged(check, facts), category=category.name)


def changed(facts, **changes):
    return msgspec.structs.replace(facts, **changes)


def told(found: Result):
    """Status and message."""
    return found.status, found.message


def pod(
    name="web",
    *,
    namespace="shop",
    annotations=None,
    condition=None,
    gateways=(),
    phase="Running",
    node="node1",
    image="gateway:1",
    privileged=False,
) -> PodObject:
    """A pod. `condition` is (status, reason, message); `gateways` are exit codes, None for one that runs, or a state."""
    names = ["kube-gateway", *(f"kube-gateway-{number}" for number in range(2, len(gateways) + 1))][: len(gateways)]
    containers = [{"name": each, "image": image, "securityContext": {"privileged": privileged}} for each in names]
    states = [
        {"running": {}} if end is None else end if isinstance(end, dict) else {"terminated": {"exitCode": end}}
        for end in gateways
    ]
    conditions = [dict(zip(("status", "reason", "message"), condition, strict=True))] if condition else []
    wanted = {"encrypt": "true"} if annotations is None else annotations
    body = {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "annotations": {f"kube-gateway.io/{key}": value for key, value in wanted.items()},
        },
        "spec": {"nodeName": node, "ephemeralContainers": containers},
        "status": {
            "phase": phase,
            "conditions": [{"type": "kube-gateway.io/Encrypted", **each} for each in conditions],
            "ephemeralContainerStatuses": [
                {"name": each, "state": state} for each, state in zip(names, states, strict=True)
            ],
        },
    }
    return msgspec.convert(body, PodObject)


ENCRYPTING = ("True", "Encrypting", "new connections with enrolled peers are encrypted, others in clear (gateway 1)")


def encrypting(name="web", **more) -> PodObject:
    return pod(name, condition=ENCRYPTING, gateways=(None,), **more)


def reported(name="web", *, expires=NOW + 3000, **more) -> PodSummary:
    values = {"key": f"shop/{name}", "uid": f"uid-{name}", "generation": 1, "state": "ready", "connected": True}
    numbers = {"version": "0.1.0", "mode": "permissive", "certificate_expires": expires, "tunnelled": 97, "clear": 3}
    return PodSummary(**{**values, **numbers, **more})


def seen(subject: PodObject, *, said=None, inherited=None, strict=False):
    return view(subject, inherited=inherited or {}, reported=said, strict=strict)


def summary(*pods, **more) -> Summary:
    values = {"time": NOW, "leader": "watcher-1", "version": "0.1.0", "image": "gateway:1", "certificate_life": 3600.0}
    return Summary(**{**values, "pods": pods, **more})
