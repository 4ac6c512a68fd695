"""What is read of Services and EndpointSlices: addresses, ports and who is ready.

Source: Kubernetes API reference, v1 Service and discovery.k8s.io/v1 EndpointSlice.
"""

from __future__ import annotations

import msgspec

from kube_gateway.kube.client import Metadata


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of what is read of Kubernetes' objects. All has a default: the object of a bookmark is all but empty."""


class ServicePort(_Object, frozen=True):
    """One port of a Service. `target_port` is for those who make slices; these hold what came of it."""

    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str | None = None


class ClientIpConfig(_Object, frozen=True):
    """How long a client stays with its backend."""

    timeout_seconds: int | None = None


class SessionAffinityConfig(_Object, frozen=True):
    """Details of `ServiceSpec.session_affinity`."""

    client_ip: ClientIpConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(_Object, frozen=True):
    """What is asked for a Service."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    ports: tuple[ServicePort, ...] | None = None
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None


class LoadBalancerIngress(_Object, frozen=True):
    """One address of a load balancer. `ip_mode` is `VIP` where None."""

    ip: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(_Object, frozen=True):
    """Where a load balancer is."""

    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(_Object, frozen=True):
    """What has become of a Service."""

    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class ServiceObject(_Object, frozen=True):
    """A Service (v1), as far as its addresses and ports go."""

    metadata: Metadata = Metadata()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointConditions(_Object, frozen=True):
    """State of an endpoint. None is unknown: ready, serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(_Object, frozen=True):
    """One workload. Its addresses are interchangeable; like kube-proxy we use the first."""

    addresses: tuple[str, ...] | None = None
    conditions: EndpointConditions = EndpointConditions()
    node_name: str | None = None


class EndpointPort(_Object, frozen=True):
    """One port of all endpoints of a slice; `name` is that of the Service's port, `port` the endpoints' own."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSliceObject(_Object, frozen=True):
    """An EndpointSlice (discovery.k8s.io/v1); lists without elements come as null."""

    metadata: Metadata = Metadata()
    address_type: str = ""
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None
