"""What is read of Kubernetes' objects, and no more: most of a pod is of no interest, and a cluster has thousands.

Source: Kubernetes API reference, v1 Pod and Namespace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from kube_gateway.kube.client import Metadata
from kube_gateway.model.pod import Pod
from kube_gateway.model.ports import ANNOTATION_PREFIX
from kube_gateway.model.settings import at_least_strict

_MIRROR = "kubernetes.io/config.mirror"


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Base. All has a default: the object of a bookmark is all but empty. Nothing here refers in a circle.

    Go writes a list or a time without value as null, here and there.
    """


class SecurityContext(_Object, frozen=True):
    """What a container may do."""

    privileged: bool | None = None


class ContainerPort(_Object, frozen=True):
    """A port that a container names."""

    name: str = ""
    container_port: int = 0


class Handler(_Object, frozen=True):
    """What the kubelet connects to: a number, or the name of one of the container's ports.

    `host` is empty where it is the pod itself.
    """

    port: int | str = 0
    host: str = ""


class Probe(_Object, frozen=True):
    """A probe, or what is done after a container's start and before its end; neither of the three is a command."""

    http_get: Handler | None = None
    tcp_socket: Handler | None = None
    grpc: Handler | None = None


class Lifecycle(_Object, frozen=True):
    """What is done after a container's start and before its end."""

    post_start: Probe | None = None
    pre_stop: Probe | None = None


class Container(_Object, frozen=True):
    """A container as it was asked for."""

    name: str = ""
    image: str = ""
    security_context: SecurityContext | None = None
    ports: tuple[ContainerPort, ...] | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None


class PodSpec(_Object, frozen=True):
    """What was asked for."""

    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    ephemeral_containers: tuple[Container, ...] | None = None


class Waiting(_Object, frozen=True):
    """Why a container does not run yet."""

    reason: str = ""
    message: str = ""


class Running(_Object, frozen=True):
    """Since when a container runs (RFC 3339)."""

    started_at: str | None = None


class Terminated(_Object, frozen=True):
    """How a container ended; times are RFC 3339."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None


class ContainerState(_Object, frozen=True):
    """One of the three."""

    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Object, frozen=True):
    """What has become of a container."""

    name: str = ""
    state: ContainerState = ContainerState()


class PodAddress(_Object, frozen=True):
    """One address of a pod, or of its node."""

    ip: str = ""


class Condition(_Object, frozen=True):
    """A condition of a pod; `status` is `True`, `False` or `Unknown`."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class PodStatus(_Object, frozen=True):
    """What has become of a pod."""

    phase: str = ""
    pod_ips: tuple[PodAddress, ...] | None = msgspec.field(default=None, name="podIPs")
    host_ip: str = msgspec.field(default="", name="hostIP")
    host_ips: tuple[PodAddress, ...] | None = msgspec.field(default=None, name="hostIPs")
    conditions: tuple[Condition, ...] | None = None
    ephemeral_container_statuses: tuple[ContainerStatus, ...] | None = None


class PodObject(_Object, frozen=True):
    """A pod."""

    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses, IPv4 first."""
        return tuple(sorted((address.ip for address in self.status.pod_ips or ()), key=lambda text: ":" in text))

    @property
    def is_static(self) -> bool:
        """Whether it is a kubelet's own, which the API server only mirrors."""
        return _MIRROR in (self.metadata.annotations or {})

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it runs any more; its address may be another's by now."""
        return self.status.phase in {"Succeeded", "Failed"}

    @property
    def is_ending(self) -> bool:
        """Whether it is being deleted."""
        return self.metadata.deletion_timestamp is not None


class NamespaceObject(_Object, frozen=True):
    """A namespace."""

    metadata: Metadata = Metadata()


class PolicyData(_Object, frozen=True):
    """What is read of a ConfigMap with a policy: one key."""

    config: str | None = None


class ConfigMapObject(_Object, frozen=True):
    """A ConfigMap with a policy for LLM calls."""

    metadata: Metadata = Metadata()
    data: PolicyData | None = None


def our_annotations(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """Those that are ours."""
    return {key: value for key, value in (annotations or {}).items() if key.startswith(ANNOTATION_PREFIX)}


def pod_of(seen: PodObject, *, inherited: Mapping[str, str], strict: bool = False) -> Pod:
    """The workload. Its own annotations count before those that its namespace gives it (`inherited`).

    `strict`: if it encrypts, it is strict, whoever has asked for less.
    """
    annotations = {**inherited, **our_annotations(seen.metadata.annotations)}
    return Pod(
        name=seen.metadata.name,
        uid=seen.metadata.uid,
        namespace=seen.metadata.namespace,
        service_account=seen.spec.service_account_name or "default",
        addresses=seen.addresses,
        probe_sources=_node_addresses(seen.status),
        probe_ports=_probe_ports(seen.spec),
        annotations=at_least_strict(annotations) if strict else annotations,
        labels=seen.metadata.labels or {},
    )


def _node_addresses(status: PodStatus) -> tuple[str, ...]:
    # Before Kubernetes 1.29 only the first is told.
    every = (status.host_ip, *(address.ip for address in status.host_ips or ()))
    return tuple(dict.fromkeys(address for address in every if address))


def _probe_ports(spec: PodSpec) -> tuple[int, ...]:
    """What the kubelet connects to. Init containers may run on beside the others, with probes."""
    found: set[int] = set()
    for container in (*(spec.init_containers or ()), *(spec.containers or ())):
        named = {port.name: port.container_port for port in container.ports or () if port.name}
        for handler in _handlers(container):
            if not handler.host:
                port = handler.port
                found.add(port if isinstance(port, int) else named.get(port, 0))
    return tuple(sorted(port for port in found if 0 < port < 65536))


def _handlers(container: Container) -> Iterator[Handler]:
    lifecycle = container.lifecycle or Lifecycle()
    for probe in (
        container.liveness_probe,
        container.readiness_probe,
        container.startup_probe,
        lifecycle.post_start,
        lifecycle.pre_stop,
    ):
        if probe is not None:
            yield from filter(None, (probe.http_get, probe.tcp_socket, probe.grpc))


def seconds(time: str | None) -> float:
    """Seconds since the epoch of an RFC 3339 time; 0 for none."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0
