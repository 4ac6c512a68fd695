"""What checks read of Kubernetes' objects, beside what the watcher does.

Sources: Kubernetes API reference, apps/v1 Deployment, v1 Node and ConfigMap, coordination.k8s.io/v1 Lease.
"""

from __future__ import annotations

import msgspec

from kube_gateway.kube.client import Metadata
from kube_gateway.kube.lease import LeaseSpec


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base."""


class DeploymentSpec(_Object, frozen=True):
    """How many there shall be."""

    replicas: int = 1


class DeploymentStatus(_Object, frozen=True):
    """How many there are."""

    ready_replicas: int = 0


class Deployment(_Object, frozen=True):
    """A Deployment."""

    metadata: Metadata = Metadata()
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class NodeInfo(_Object, frozen=True):
    """What the kubelet says of its node."""

    kernel_version: str = ""
    container_runtime_version: str = ""
    operating_system: str = "linux"


class NodeStatus(_Object, frozen=True):
    """What is so."""

    node_info: NodeInfo = NodeInfo()


class Node(_Object, frozen=True):
    """A node."""

    metadata: Metadata = Metadata()
    status: NodeStatus = NodeStatus()


class ManagedFields(_Object, frozen=True):
    """Who wrote fields, and when (RFC 3339, by the server's clock)."""

    time: str | None = None


class LeaseMetadata(_Object, frozen=True):
    """Who wrote the Lease."""

    managed_fields: tuple[ManagedFields, ...] = ()


class LeaseRecord(_Object, frozen=True):
    """A Lease, with what the server knows of its last change."""

    metadata: LeaseMetadata = LeaseMetadata()
    spec: LeaseSpec = LeaseSpec()


class ConfigMap(_Object, frozen=True):
    """A ConfigMap."""

    data: dict[str, str] | None = None
