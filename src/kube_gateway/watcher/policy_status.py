"""What becomes of GatewayPolicies, told in their status: whom they select, who enforces them, what is wrong with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from kube_gateway.authorization.compiling import selects
from kube_gateway.authorization.schema import API_VERSION, GatewayPolicy
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import KubernetesError, NotFound
from kube_gateway.model.authorization import authorization_name
from kube_gateway.model.flow import AccessReport
from kube_gateway.watcher.cluster import Cluster

_log = logging.getLogger("watcher")

EVERY = 5.0
"""Seconds between two looks at what has changed."""


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """One running pod that a policy selects: the name of the rules that hold for it, and what its gateway says, if it has
    one that is connected."""

    rules: str
    access: AccessReport | None = None
    has_gateway: bool = False

    @property
    def enforced(self) -> bool:
        """Whether its gateway applies these rules."""
        return self.has_gateway and self.access is not None and self.access.rules == self.rules


class PolicyStatus:
    """Writes it while its watcher leads."""

    def __init__(self, client: KubernetesClient, *, cluster: Cluster, every: float = EVERY) -> None:
        self._client = client
        self._cluster = cluster
        self._every = every
        self._told: set[str] = set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Write what has changed. That it could not be written is told once."""
        known = self._cluster.access
        for policy in known.set.policies:
            found = known.informer.store.get(policy.key)
            if found is None:
                continue
            status = status_of(
                policy,
                list(self._selected(policy)),
                problem=known.set.problems.get(policy.key, ""),
                generation=found.metadata.generation,
                before=found.status if isinstance(found.status, dict) else {},
            )
            if status != found.status:
                await self._write(policy, status)

    async def _write(self, policy: GatewayPolicy, status: dict[str, Any]) -> None:
        path = f"/apis/{API_VERSION}/namespaces/{policy.namespace}/gatewaypolicies/{policy.name}/status"
        try:
            await self._client.patch(path, {"status": status}, kind="merge")
        except NotFound:
            return  # it went in the meantime
        except KubernetesError as error:
            if error.message not in self._told:
                self._told.add(error.message)
                _log.warning("%s: the status could not be written: %s", policy.key, error.message)

    def _selected(self, policy: GatewayPolicy) -> Iterator[Selected]:
        for key, seen in self._cluster.pods.store.items():
            if seen.metadata.namespace != policy.namespace or seen.status.phase != "Running":
                continue
            observation = self._cluster.observe(key)
            if observation is None or not selects(policy, observation.pod):
                continue
            lines = self._cluster.memory(key).lines
            ready = [line for _, line in sorted(lines.items()) if line.is_connected and line.state == "ready"]
            report = ready[-1].report if ready else None
            yield Selected(
                rules=authorization_name(observation.authorization or ""),
                access=report.snapshot.access if report is not None else None,
                has_gateway=report is not None,
            )


def status_of(
    policy: GatewayPolicy, selected: list[Selected], *, problem: str, generation: int, before: dict[str, Any]
) -> dict[str, Any]:
    """The status of a policy; times of conditions that say the same as `before` stay."""
    enforcing = sum(one.enforced for one in selected)
    denials = [
        denial
        for one in selected
        for denial in (one.access.denials if one.access is not None else ())
        if denial.policy == policy.key
    ]
    return {
        "observedGeneration": generation,
        "selected": len(selected),
        "enforcing": enforcing,
        "denied": sum(denial.count for denial in denials if not denial.dry_run),
        "wouldDeny": sum(denial.count for denial in denials if denial.dry_run),
        "conditions": [
            _condition("Accepted", *_accepted(problem), generation=generation, before=before),
            _condition("Enforced", *_enforced(selected, enforcing), generation=generation, before=before),
        ],
    }


def _accepted(problem: str) -> tuple[bool, str, str]:
    if problem:
        return (
            False,
            "InvalidPolicy",
            f"{problem}; the last version that was right stays in force, without one all is denied",
        )
    return True, "Accepted", ""


def _enforced(selected: list[Selected], enforcing: int) -> tuple[bool, str, str]:
    without = sum(not one.has_gateway for one in selected)
    if not selected:
        return False, "NoPodSelected", "no running pod of the namespace has such labels"
    if without:
        return False, "PodsWithoutGateway", f"{without} of {len(selected)} selected pods have no gateway that is ready"
    if enforcing < len(selected):
        behind = len(selected) - enforcing
        return False, "GatewaysBehind", f"{behind} of {len(selected)} gateways do not apply it yet"
    return True, "Enforced", ""


def _condition(
    kind: str, holds: bool, reason: str, message: str, *, generation: int, before: dict[str, Any]
) -> dict[str, Any]:
    status = "True" if holds else "False"
    conditions = before.get("conditions")
    known = [one for one in conditions if isinstance(one, dict) and one.get("type") == kind] if conditions else []
    same = bool(known) and known[0].get("status") == status
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": known[0].get("lastTransitionTime", now) if same else now,
        "observedGeneration": generation,
    }
