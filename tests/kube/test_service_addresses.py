"""Which addresses are a Service's, however they are written and whoever says so."""

from __future__ import annotations

import msgspec
import pytest

from kube.service_parts import a_directory, a_service, a_slice, answer
from kube_gateway.kube.service_objects import EndpointSliceObject, ServiceObject
from kube_gateway.kube.services import ServiceDirectory, canonical_address


def test_each_family_has_its_slices():
    directory = a_directory(
        a_service(80, cluster_ips=("10.96.3.4", "FD00:0:0::4")),
        a_slice("10.0.0.1", "fd00:1::9"),
        a_slice("FD00:1::0001", family="IPv6"),
        a_slice("pod.example.org", family="FQDN"),
    )
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080")
    assert directory.resolve("fd00::4", 80) == answer("fd00:1::1:8080")
    assert directory.resolve("fd00:0:0:0:0:0:0:4", 80) == answer("fd00:1::1:8080")


def test_a_mapped_address_is_an_ipv4_address():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    assert directory.resolve("::ffff:10.96.3.4", 80) == answer("10.0.0.1:8080")
    assert canonical_address("::FFFF:0a60:0304") == "10.96.3.4"


def test_the_older_field_alone_will_do():
    service = msgspec.convert({"spec": {"clusterIP": "10.96.3.4", "ports": [{"port": 80}]}}, ServiceObject)
    assert a_directory(service, a_slice("10.0.0.1")).resolve("10.96.3.4", 80) == answer("10.0.0.1:8080")


@pytest.mark.parametrize(
    "service",
    [
        a_service(80, cluster_ips=("None",), externalIPs=["192.0.2.1"]),
        a_service(80, cluster_ips=("",), externalIPs=["192.0.2.1"]),
        a_service(80, type="ExternalName", externalName="example.org", externalIPs=["192.0.2.1"]),
    ],
)
def test_services_without_a_cluster_ip_have_no_address(service):
    directory = ServiceDirectory()
    assert directory.service_changed("shop/web", service) == set()
    assert directory.slice_changed("shop/web-0", a_slice("10.0.0.1")) == set()
    for address in ("10.96.3.4", "192.0.2.1", "10.0.0.1"):
        assert directory.resolve(address, 80) is None


def test_external_addresses_are_the_services_for_its_ports_only():
    directory = a_directory(
        a_service(
            80,
            {"name": "log", "port": 514, "protocol": "UDP"},
            externalIPs=["192.0.2.1"],
            ingress=[{"ip": "192.0.2.2"}, {"ip": "192.0.2.3", "ipMode": "VIP"}, {"hostname": "lb.example.org"}],
        ),
        a_slice("10.0.0.1"),
    )
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        assert directory.resolve(address, 80) == answer("10.0.0.1:8080")
        assert directory.resolve(address, 22) is None
        assert directory.resolve(address, 514) is None


def test_a_load_balancer_that_has_to_be_passed_or_asked_is_left_alone():
    proxied = [{"ip": "192.0.2.2", "ipMode": "Proxy"}]
    assert a_directory(a_service(80, ingress=proxied)).resolve("192.0.2.2", 80) is None
    restricted = a_service(80, ingress=[{"ip": "192.0.2.2"}], loadBalancerSourceRanges=["198.51.100.0/24"])
    assert a_directory(restricted).resolve("192.0.2.2", 80) is None
    assert a_directory(restricted).resolve("10.96.3.4", 80) == answer()


def test_services_may_share_an_external_address():
    directory = a_directory(a_service(80, externalIPs=["192.0.2.1"]), a_slice("10.0.0.1"))
    directory.service_changed("shop/mail", a_service(25, cluster_ips=("10.96.3.5",), externalIPs=["192.0.2.1"]))
    assert directory.resolve("192.0.2.1", 80) == answer("10.0.0.1:8080")
    assert directory.resolve("192.0.2.1", 25) == answer(service="shop/mail")
    directory.service_changed("shop/mail", None)
    assert directory.resolve("192.0.2.1", 80) == answer("10.0.0.1:8080")
    assert directory.resolve("192.0.2.1", 25) is None


def test_nobody_takes_a_cluster_ip_by_calling_it_external():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    thief = a_service(
        80, 81, cluster_ips=("10.96.3.5",), externalIPs=["10.96.3.4"], created="2026-02-02T00:00:00Z", uid="2"
    )
    directory.service_changed("shop/thief", thief)
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080")
    assert directory.resolve("10.96.3.4", 81) == answer()


def test_objects_as_the_api_server_writes_them():
    bookmark = b"""{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"12746",
        "creationTimestamp":null},"addressType":"","endpoints":null,"ports":null}"""
    assert msgspec.json.decode(bookmark, type=EndpointSliceObject).metadata.resource_version == "12746"
    bookmark = b"""{"kind":"Service","apiVersion":"v1","metadata":{"resourceVersion":"12746","creationTimestamp":null},
        "spec":{},"status":{"loadBalancer":{}}}"""
    assert msgspec.json.decode(bookmark, type=ServiceObject).spec.ports is None
    service = msgspec.json.decode(
        b"""{"apiVersion":"v1","kind":"Service","metadata":{"creationTimestamp":"2026-01-01T00:00:00Z","name":"web",
        "namespace":"shop","resourceVersion":"7","uid":"u","labels":{"app":"web"}},"spec":{"allocateLoadBalancerNodePorts":
        true,"clusterIP":"10.96.3.4","clusterIPs":["10.96.3.4"],"externalIPs":["192.0.2.1"],"externalTrafficPolicy":
        "Cluster","internalTrafficPolicy":"Cluster","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","ports":[{
        "appProtocol":"http","name":"http","nodePort":30080,"port":80,"protocol":"TCP","targetPort":"web"}],"selector":{
        "app":"web"},"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":30}},"type":
        "LoadBalancer"},"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.9","ipMode":"VIP"}]}}}""",
        type=ServiceObject,
    )
    assert service.spec.ports is not None
    assert service.spec.ports[0].target_port == "web"
    endpoint_slice = msgspec.json.decode(
        b"""{"addressType":"IPv4","apiVersion":"discovery.k8s.io/v1","endpoints":[{"addresses":["10.0.0.1"],"conditions":{
        "ready":true,"serving":true,"terminating":false},"nodeName":"a","targetRef":{"kind":"Pod","name":"web-1",
        "namespace":"shop","uid":"p"},"zone":"z"}],"kind":"EndpointSlice","metadata":{"labels":{
        "kubernetes.io/service-name":"web"},"name":"web-abc","namespace":"shop"},"ports":[{"name":"http","port":8080,
        "protocol":"TCP"}]}""",
        type=EndpointSliceObject,
    )
    directory = a_directory(service, endpoint_slice)
    for address in ("10.96.3.4", "192.0.2.1", "192.0.2.9"):
        assert directory.resolve(address, 80) == answer("10.0.0.1:8080", affinity_seconds=30)
