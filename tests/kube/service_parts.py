"""Services and slices of endpoints as the API has them, and what is said of them."""

from __future__ import annotations

import msgspec

from kube_gateway.kube.service_objects import EndpointSliceObject, ServiceObject
from kube_gateway.kube.services import ServiceDirectory
from kube_gateway.model.service import Backend, ServiceBackends


def a_service(*ports, cluster_ips=("10.96.3.4",), created="2026-01-01T00:00:00Z", uid="1", ingress=(), **spec):
    return msgspec.convert(
        {
            "metadata": {"name": "web", "namespace": "shop", "uid": uid, "creationTimestamp": created},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": cluster_ips[0],
                "clusterIPs": list(cluster_ips),
                "ports": [a_port(port) for port in ports or (80,)],
                **spec,
            },
            "status": {"loadBalancer": {"ingress": list(ingress)}},
        },
        ServiceObject,
    )


def a_port(port):
    return {"port": port, "protocol": "TCP", "targetPort": 8080} if isinstance(port, int) else port


def a_slice(*endpoints, service="web", ports=((None, 8080),), family="IPv4"):
    return msgspec.convert(
        {
            "metadata": {"name": "web-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
            "addressType": family,
            "endpoints": [an_endpoint(one) if isinstance(one, str) else one for one in endpoints],
            "ports": [{"name": name, "port": number, "protocol": "TCP"} for name, number in ports],
        },
        EndpointSliceObject,
    )


def an_endpoint(*addresses, node=None, **conditions):
    return {"addresses": list(addresses), "conditions": conditions or {"ready": True}, "nodeName": node}


def a_directory(service, *slices, key="shop/web"):
    directory = ServiceDirectory()
    directory.service_changed(key, service)
    for number, endpoint_slice in enumerate(slices):
        directory.slice_changed(f"shop/web-{number}", endpoint_slice)
    return directory


def answer(*backends, service="shop/web", affinity_seconds=0):
    split = (backend.rsplit(":", 1) for backend in backends)
    return ServiceBackends(
        service=service,
        backends=tuple(Backend(address=address, port=int(port)) for address, port in split),
        affinity_seconds=affinity_seconds,
    )
