"""What the watcher may do and what installing it takes, read from its manifest; and who may do it, asked of the server.

Source: kubernetes.io, 'Using RBAC Authorization' ('Privilege escalation prevention') and 'Authorization' (checking access).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from kube_gateway.checks.asking import Refusal, submit
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.manifests import objects
from kube_gateway.watcher.configuration import NAMESPACE

_AT_ONCE = 8

RESOURCES = {
    "Namespace": ("", "namespaces"),
    "CustomResourceDefinition": ("apiextensions.k8s.io", "customresourcedefinitions"),
    "ServiceAccount": ("", "serviceaccounts"),
    "ConfigMap": ("", "configmaps"),
    "Service": ("", "services"),
    "Deployment": ("apps", "deployments"),
    "ClusterRole": ("rbac.authorization.k8s.io", "clusterroles"),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io", "clusterrolebindings"),
    "ValidatingAdmissionPolicy": ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    "Role": ("rbac.authorization.k8s.io", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io", "rolebindings"),
}
"""API group and resource of each kind in the manifest."""


class Permission(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to be allowed: `resource` may have a subresource; empty `namespace` is all of them, empty `name` any."""

    verb: str
    group: str
    resource: str
    name: str = ""
    namespace: str = ""


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


def watcher_permissions(namespace: str) -> tuple[Permission, ...]:
    """What the watcher in `namespace` needs."""
    return tuple(permission for role in _of_kind("ClusterRole", "Role") for permission in _granted(role, namespace))


def install_permissions(namespace: str) -> tuple[Permission, ...]:
    """What `kubectl apply` of the manifest needs, apart from granting the watcher its rights."""
    return tuple(
        Permission(
            verb=verb,
            group=RESOURCES[found["kind"]][0],
            resource=RESOURCES[found["kind"]][1],
            namespace=namespace if "namespace" in found["metadata"] else "",
        )
        for found in objects()
        for verb in ("get", "create")
    )


def grant_permissions(namespace: str) -> tuple[Permission, ...]:
    """What allows to grant any rights: without these, one may grant only what one has."""
    group = RESOURCES["Role"][0]
    return (
        Permission(verb="escalate", group=group, resource="clusterroles"),
        Permission(verb="bind", group=group, resource="clusterroles"),
        Permission(verb="escalate", group=group, resource="roles", namespace=namespace),
        Permission(verb="bind", group=group, resource="roles", namespace=namespace),
    )


def service_account(name: str, namespace: str) -> dict[str, object]:
    """A service account as the server knows it: a user, and its groups."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return {"user": f"system:serviceaccount:{namespace}:{name}", "groups": groups}


async def allowed(
    client: KubernetesClient, permissions: Iterable[Permission], *, subject: Mapping[str, object] | None = None
) -> dict[Permission, bool] | Refusal:
    """Whether the caller, or `subject`, may do each of these. Raises `KubernetesError`."""
    path = f"/apis/authorization.k8s.io/v1/{'selfsubjectaccessreviews' if subject is None else 'subjectaccessreviews'}"
    limit = asyncio.Semaphore(_AT_ONCE)

    async def ask(permission: Permission) -> _Review | Refusal:
        async with limit:
            body = {"spec": {**(subject or {}), "resourceAttributes": _attributes(permission)}}
            return await submit(client, path, body, _Review)

    asked = tuple(dict.fromkeys(permissions))
    answers = await asyncio.gather(*map(ask, asked))
    found: dict[Permission, bool] = {}
    for permission, answer in zip(asked, answers, strict=True):
        if isinstance(answer, Refusal):
            return answer
        found[permission] = answer.status.allowed
    return found


def rules(permissions: Iterable[Permission]) -> tuple[str, ...]:
    """Rules of roles that would allow these, one for each resource."""
    verbs: dict[tuple[str, str, str, str], list[str]] = {}
    for one in permissions:
        verbs.setdefault((one.namespace, one.group, one.resource, one.name), []).append(one.verb)
    return tuple(_rule(*key, verbs=found) for key, found in verbs.items())


def _rule(namespace: str, group: str, resource: str, name: str, *, verbs: list[str]) -> str:
    rule = {"apiGroups": [group], "resources": [resource], "resourceNames": [name] if name else [], "verbs": verbs}
    text = msgspec.json.encode({key: value for key, value in rule.items() if value}).decode()
    return f"{text} in the namespace {namespace}" if namespace else text


def _of_kind(*kinds: str) -> Iterator[dict[str, Any]]:
    return (found for found in objects() if found["kind"] in kinds)


def _granted(role: dict[str, Any], namespace: str) -> Iterator[Permission]:
    assert role["metadata"].get("namespace", NAMESPACE) == NAMESPACE  # noqa: S101 - what our own manifest has
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    for verb in rule["verbs"]:
                        yield Permission(
                            verb=verb,
                            group=group,
                            resource=resource,
                            name=name,
                            namespace=namespace if role["kind"] == "Role" else "",
                        )


def _attributes(permission: Permission) -> dict[str, str]:
    resource, _, subresource = permission.resource.partition("/")
    return {
        "namespace": permission.namespace,
        "verb": permission.verb,
        "group": permission.group,
        "resource": resource,
        "subresource": subresource,
        "name": permission.name,
    }
