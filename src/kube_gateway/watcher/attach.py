"""What is written to put a gateway into a pod: a Secret and an ephemeral container. Pure.

Sources: Kubernetes API reference, EphemeralContainer v1; Pod Security Standards.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec

from kube_gateway.control import messages
from kube_gateway.model.pod import Pod
from kube_gateway.watcher.generations import container_name

CAPABILITIES = ("BPF", "NET_ADMIN", "DAC_READ_SEARCH")
"""Load and attach programs; end connections and replace programs; open the pod's cgroup by its id."""

_LONGEST_NAME = 253
_LABELS = {
    "app.kubernetes.io/name": "kube-gateway",
    "app.kubernetes.io/component": "gateway",
    "app.kubernetes.io/managed-by": "kube-gateway",
}
_SECRET_KEYS = {"KEY": "key", "CERTIFICATE": "certificate", "TRUST_BUNDLE": "trust-bundle"}


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway is started. `control` and `watcher` are where the watcher listens and its SPIFFE id.

    `settings` are those to begin with; `pull_policy` is Kubernetes' imagePullPolicy. `target` is the container whose
    process namespace the gateway shares, empty for none.
    """

    generation: int
    settings: messages.Configure
    control: str
    watcher: str
    image: str
    pull_policy: str
    privileged: bool
    target: str = ""


def secret_name(pod: str) -> str:
    """The name of the Secret of a pod; a name that would be too long is cut and made unique by a hash."""
    name = f"kube-gateway-{pod}"
    if len(name) <= _LONGEST_NAME:
        return name
    mark = hashlib.sha256(pod.encode()).hexdigest()[:10]
    return f"{name[: _LONGEST_NAME - 11].rstrip('.-')}-{mark}"


def secret(pod: Pod, *, chain: str, key: str, trust_bundle: str) -> dict[str, Any]:
    """The Secret that a new gateway begins with (all PEM); it goes with the pod."""
    values = {"certificate": chain, "key": key, "trust-bundle": trust_bundle}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": secret_name(pod.name),
            "namespace": pod.namespace,
            "labels": _LABELS,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}],
        },
        "type": "Opaque",
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
    }


def ephemeral_container(pod: Pod, start: Start) -> dict[str, Any]:
    """The container; it is never changed after it was added."""
    told = {
        "POD": pod.key,
        "UID": pod.uid,
        "GENERATION": str(start.generation),
        "CONTROL": start.control,
        "WATCHER": start.watcher,
        "SETTINGS": messages.encode(start.settings).decode().strip(),
    }
    environment: list[dict[str, Any]] = [{"name": f"KUBE_GATEWAY_{name}", "value": told[name]} for name in told]
    for name, key in _SECRET_KEYS.items():
        reference = {"secretKeyRef": {"name": secret_name(pod.name), "key": key}}
        environment.append({"name": f"KUBE_GATEWAY_{name}", "valueFrom": reference})
    container: dict[str, Any] = {
        "name": container_name(start.generation),
        "image": start.image,
        "imagePullPolicy": start.pull_policy,
        "args": ["gateway"],
        "env": environment,
        "securityContext": _security_context(privileged=start.privileged),
        # What it said last is in the status, for events and people.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if start.target:
        container["targetContainerName"] = start.target
    return container


def _security_context(*, privileged: bool) -> dict[str, Any]:
    # The pod may demand a user for its containers that owns nothing of what the gateway needs.
    user = {"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": False, "readOnlyRootFilesystem": not privileged}
    if privileged:
        return {**user, "privileged": True}
    return {
        **user,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
