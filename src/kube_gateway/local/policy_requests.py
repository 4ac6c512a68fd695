"""What the command line asks about GatewayPolicies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kube_gateway.local import api
from kube_gateway.model.authorization import authorization_name

if TYPE_CHECKING:
    from kube_gateway.authorization.schema import GatewayPolicy
    from kube_gateway.local.manager import Manager
    from kube_gateway.local.pods import LocalPod
    from kube_gateway.model.flow import Denial


def answer_about_policies(
    manager: Manager, request: api.ApplyPolicies | api.RemovePolicy | api.ListPolicies
) -> tuple[api.PolicyView, ...]:
    """Do what is asked, and show the policies that it is about. Raises `KubeGatewayError`."""
    known = manager.access.known
    match request:
        case api.ListPolicies():
            names = [policy.name for policy in known.policies]
        case api.ApplyPolicies():
            names = list(manager.access.apply(request.text))
            manager.changed()
        case api.RemovePolicy():
            manager.access.remove(request.name)
            manager.changed()
            names = []
    return tuple(_view(manager, policy) for policy in known.policies if policy.name in names)


def are_in_force(pod: LocalPod) -> bool:
    """Whether the gateway of `pod` applies what the policies say of who may reach it."""
    report = pod.gateway.report
    if report is None:
        return False
    access = report.snapshot.access
    return (access.rules if access is not None else "") == authorization_name(pod.authorization)


def _view(manager: Manager, policy: GatewayPolicy) -> api.PolicyView:
    selected = [
        pod for pod in manager.pods.values() if policy in manager.access.known.selecting(pod.workload.record.pod)
    ]
    denials = [denial for pod in selected for denial in _denials(pod) if denial.policy == policy.key]
    return api.PolicyView(
        name=policy.name,
        default=policy.spec.default,
        rules=len(policy.spec.rules),
        dry_run=policy.spec.dry_run,
        selects=tuple(pod.workload.record.name for pod in selected),
        denied=sum(denial.count for denial in denials if not denial.dry_run),
        would_deny=sum(denial.count for denial in denials if denial.dry_run),
        problem=manager.access.known.problems.get(policy.key, ""),
    )


def _denials(pod: LocalPod) -> tuple[Denial, ...]:
    report = pod.gateway.report
    access = report.snapshot.access if report is not None else None
    return access.denials if access is not None else ()
