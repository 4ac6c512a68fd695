"""Events of a pod, for `kubectl describe`. Source: Kubernetes API reference, events.k8s.io/v1 Event."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, Literal

from kube_gateway.model.pod import Pod

CONTROLLER = "kube-gateway.io/watcher"

_LONGEST_NOTE = 1024
"""Bytes, as the API server counts them."""

_LONGEST_NAME = 253
_LONGEST_INSTANCE = 128


def collection(pod: Pod) -> str:
    """The path to which events of a pod are posted."""
    return f"/apis/events.k8s.io/v1/namespaces/{pod.namespace}/events"


def event(
    pod: Pod, *, reason: str, note: str, kind: Literal["Normal", "Warning"] = "Normal", action: str, instance: str
) -> dict[str, Any]:
    """An event; `reason` and `action` are words in CamelCase, `instance` is the watcher that tells it."""
    now = datetime.now(UTC)
    mark = f".{secrets.token_hex(8)}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": pod.name[: _LONGEST_NAME - len(mark)].rstrip("-.") + mark, "namespace": pod.namespace},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:_LONGEST_INSTANCE],
        "regarding": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
        },
        "type": kind,
        "reason": reason,
        "action": action,
        "note": _shortened(note),
    }


def _shortened(note: str) -> str:
    encoded = note.encode()
    if len(encoded) <= _LONGEST_NOTE:
        return note
    return encoded[: _LONGEST_NOTE - 4].decode(errors="ignore") + " ..."
