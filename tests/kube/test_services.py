"""What is behind the address of a Service."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.kube.service_objects import EndpointSliceObject, ServiceObject
from kube_gateway.kube.services import ANY_PORT, ServiceDirectory, canonical_address, is_among
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


def test_backends_are_sorted_pods_with_their_own_port():
    directory = a_directory(a_service(80), a_slice("10.0.0.2", "10.0.0.1"))
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080", "10.0.0.2:8080")


def test_an_address_of_no_service_is_not_found():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    assert directory.resolve("10.0.0.1", 8080) is None
    assert directory.resolve("10.96.3.5", 80) is None
    assert directory.resolve("no address", 80) is None


def test_a_cluster_ip_is_its_services_with_all_ports():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    assert directory.resolve("10.96.3.4", 81) == answer()


def test_a_service_without_slices_has_no_backends():
    assert a_directory(a_service(80)).resolve("10.96.3.4", 80) == answer()


def test_ports_are_matched_by_name():
    directory = a_directory(
        a_service({"name": "http", "port": 80, "targetPort": "web"}, {"name": "metrics", "port": 9090}),
        a_slice("10.0.0.1", ports=(("http", 8080), ("metrics", 9100), ("other", 1))),
        a_slice("10.0.0.2", ports=(("http", 8888),)),
    )
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080", "10.0.0.2:8888")
    assert directory.resolve("10.96.3.4", 9090) == answer("10.0.0.1:9100")


@pytest.mark.parametrize("name", [None, ""])
def test_no_name_and_an_empty_one_are_the_same(name):
    directory = a_directory(a_service({"port": 80}), a_slice("10.0.0.1", ports=((name, 8080),)))
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080")


def test_other_protocols_do_not_count():
    directory = a_directory(
        a_service(
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "log", "port": 514, "protocol": "UDP"},
        ),
        msgspec.convert(
            {
                "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
                "addressType": "IPv4",
                "endpoints": [an_endpoint("10.0.0.1")],
                "ports": [
                    {"name": "dns", "port": 1053, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 2053},
                    {"name": "log", "port": 1514, "protocol": "UDP"},
                ],
            },
            EndpointSliceObject,
        ),
    )
    assert directory.resolve("10.96.3.4", 53) == answer("10.0.0.1:2053")
    assert directory.resolve("10.96.3.4", 514) == answer()


def test_a_slice_port_that_means_all_ports_is_skipped():
    directory = a_directory(a_service(80), a_slice("10.0.0.1", ports=((None, None),)))
    assert directory.resolve("10.96.3.4", 80) == answer()


@pytest.mark.parametrize(
    ("conditions", "used"),
    [
        ({"ready": True}, True),
        ({"ready": None}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True}, False),
        ({"ready": False, "serving": True, "terminating": True}, False),
    ],
)
def test_only_ready_endpoints_are_used_while_there_is_one(conditions, used):
    directory = a_directory(a_service(80), a_slice("10.0.0.1", an_endpoint("10.0.0.2", **conditions)))
    expected = ["10.0.0.1:8080", "10.0.0.2:8080"] if used else ["10.0.0.1:8080"]
    assert directory.resolve("10.96.3.4", 80) == answer(*expected)


def test_those_that_terminate_but_serve_are_the_last_resort():
    directory = a_directory(
        a_service(80),
        a_slice(
            an_endpoint("10.0.0.1", ready=False, serving=True, terminating=True),
            an_endpoint("10.0.0.2", ready=False, serving=False, terminating=True),
            an_endpoint("10.0.0.3", ready=False, serving=True, terminating=False),
        ),
    )
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080")
    directory.slice_changed("shop/web-1", a_slice("10.0.0.9"))
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.9:8080")


def test_an_endpoint_in_two_slices_counts_once_and_only_its_first_address():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"), a_slice(an_endpoint("10.0.0.1", "10.0.0.2")))
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080")


def test_a_local_policy_stays_on_the_node():
    directory = a_directory(
        a_service(80, internalTrafficPolicy="Local", externalIPs=["192.0.2.1"]),
        a_slice(
            an_endpoint("10.0.0.1", node="a"),
            an_endpoint("10.0.1.1", node="b"),
            an_endpoint("10.0.2.1", node="c", ready=False, serving=True, terminating=True),
            "10.0.3.1",
        ),
    )
    assert directory.resolve("10.96.3.4", 80, node="a") == answer("10.0.0.1:8080")
    assert directory.resolve("10.96.3.4", 80, node="b") == answer("10.0.1.1:8080")
    assert directory.resolve("10.96.3.4", 80, node="c") == answer("10.0.2.1:8080")
    assert directory.resolve("10.96.3.4", 80, node="d") == answer()
    assert directory.resolve("10.96.3.4", 80) == answer()
    everywhere = answer("10.0.0.1:8080", "10.0.1.1:8080", "10.0.3.1:8080")
    assert directory.resolve("192.0.2.1", 80, node="a") == everywhere, "the policy is for the ClusterIP"


def test_other_services_ignore_the_node():
    directory = a_directory(
        a_service(80, internalTrafficPolicy="Cluster"), a_slice(an_endpoint("10.0.0.1", node="a"), "10.0.0.2")
    )
    assert directory.resolve("10.96.3.4", 80, node="b") == answer("10.0.0.1:8080", "10.0.0.2:8080")


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 0),
        ({"sessionAffinity": "None"}, 0),
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {}}}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}, 60),
    ],
)
def test_affinity(spec, seconds):
    directory = a_directory(a_service(80, **spec), a_slice("10.0.0.1"))
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080", affinity_seconds=seconds)


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


def test_slices_may_come_before_their_service():
    directory = ServiceDirectory()
    assert directory.slice_changed("shop/web-0", a_slice("10.0.0.1")) == set()
    assert directory.service_changed("shop/web", a_service(80)) == {("10.96.3.4", 80), ("10.96.3.4", ANY_PORT)}
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.1:8080")


def test_a_service_goes_and_comes_back():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    assert directory.service_changed("shop/web", None) == {("10.96.3.4", 80), ("10.96.3.4", ANY_PORT)}
    assert directory.resolve("10.96.3.4", 80) is None
    assert directory.service_changed("shop/web", None) == set()
    directory.service_changed("shop/web", a_service(80, cluster_ips=("10.96.9.9",), uid="2"))
    assert directory.resolve("10.96.3.4", 80) is None
    assert directory.resolve("10.96.9.9", 80) == answer("10.0.0.1:8080")


def test_a_service_made_anew_while_nobody_looked():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    anew = a_service(80, cluster_ips=("10.96.9.9",), uid="2")
    assert directory.service_changed("shop/web", anew) >= {("10.96.3.4", ANY_PORT), ("10.96.9.9", ANY_PORT)}
    assert directory.resolve("10.96.3.4", 80) is None
    assert directory.resolve("10.96.9.9", 80) == answer("10.0.0.1:8080")


@pytest.mark.parametrize("created", ["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"])
def test_the_newer_service_has_the_address_of_a_deleted_one(created):
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    changed = directory.service_changed("shop/new", a_service(81, created=created, uid="2"))
    assert is_among(changed, "10.96.3.4", 80)
    assert directory.resolve("10.96.3.4", 80) == answer(service="shop/new")
    directory.service_changed("shop/web", a_service(80, 82))
    assert directory.resolve("10.96.3.4", 81) == answer(service="shop/new"), "an old one that is heard of again is old"
    directory.service_changed("shop/web", None)
    assert directory.resolve("10.96.3.4", 81) == answer(service="shop/new")
    directory.service_changed("shop/new", None)
    assert directory.resolve("10.96.3.4", 81) is None


def test_the_older_service_is_heard_of_after_the_newer():
    directory = a_directory(a_service(81, created="2026-01-01T00:00:01Z", uid="2"), key="shop/new")
    directory.service_changed("shop/web", a_service(80))
    assert directory.resolve("10.96.3.4", 80) == answer(service="shop/new")


def test_a_slice_goes():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"), a_slice("10.0.0.2"))
    assert directory.slice_changed("shop/web-0", None) == {("10.96.3.4", 80)}
    assert directory.resolve("10.96.3.4", 80) == answer("10.0.0.2:8080")
    assert directory.slice_changed("shop/web-0", None) == set()


def test_a_slice_gets_another_service():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    directory.service_changed("shop/other", a_service(90, cluster_ips=("10.96.3.5",), uid="2"))
    changed = directory.slice_changed("shop/web-0", a_slice("10.0.0.1", service="other"))
    assert changed == {("10.96.3.4", 80), ("10.96.3.5", 90)}
    assert directory.resolve("10.96.3.4", 80) == answer()
    assert directory.resolve("10.96.3.5", 90) == answer("10.0.0.1:8080", service="shop/other")


def test_a_slice_without_the_label_is_nobodys():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    directory.slice_changed("shop/web-0", a_slice("10.0.0.1", service=""))
    assert directory.resolve("10.96.3.4", 80) == answer()
    directory.slice_changed("other/web-0", a_slice("10.0.0.2"))
    assert directory.resolve("10.96.3.4", 80) == answer(), "a namespace of its own"


def test_what_changes_nothing_is_no_change():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    assert directory.service_changed("shop/web", a_service(80)) == set()
    assert directory.slice_changed("shop/web-0", a_slice("10.0.0.1")) == set()
    starting = a_slice("10.0.0.1", an_endpoint("10.0.0.2", ready=False))
    assert directory.slice_changed("shop/web-0", starting) == set()
    assert directory.slice_changed("shop/web-1", a_slice(an_endpoint("10.0.0.3", ready=False))) == set()


def test_a_slice_changes_its_ports_and_its_family_only():
    directory = a_directory(
        a_service(
            {"name": "http", "port": 80},
            {"name": "metrics", "port": 90},
            cluster_ips=("10.96.3.4", "fd00::4"),
            externalIPs=["192.0.2.1", "2001:db8::1"],
        )
    )
    changed = directory.slice_changed("shop/web-0", a_slice("10.0.0.1", ports=(("http", 8080),)))
    assert changed == {("10.96.3.4", 80), ("192.0.2.1", 80)}


def test_a_service_changes_its_ports():
    directory = a_directory(a_service(80), a_slice("10.0.0.1"))
    assert directory.service_changed("shop/web", a_service(81)) == {("10.96.3.4", 80), ("10.96.3.4", 81)}
    assert directory.resolve("10.96.3.4", 80) == answer()
    assert directory.resolve("10.96.3.4", 81) == answer("10.0.0.1:8080")


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


# Whatever happened on the way, only what there is in the end counts.

ADDRESSES = ("10.96.0.1", "10.96.0.2", "fd00::1", "192.0.2.1", "192.0.2.2")
PORTS = (80, 81, 82)
NAMES = ("a", "b", "c")
NODES = ("", "x", "y")


def services(name):
    """Services of this name; each name has an age of its own, so that there is a newest for every address."""
    port = st.builds(
        lambda number, label, protocol: {"port": number, "name": label, "protocol": protocol},
        st.sampled_from(PORTS),
        st.sampled_from(["", "p"]),
        st.sampled_from(["TCP", "TCP", "UDP"]),
    )
    return st.builds(
        lambda ports, cluster, external, policy: a_service(
            *ports,
            cluster_ips=tuple(cluster),
            externalIPs=external,
            internalTrafficPolicy=policy,
            created=f"2026-01-01T00:00:0{NAMES.index(name)}Z",
            uid=name,
        ),
        st.lists(port, min_size=1, max_size=3),
        st.lists(st.sampled_from([*ADDRESSES[:3], "None"]), min_size=1, max_size=2),
        st.lists(st.sampled_from(ADDRESSES), max_size=2),
        st.sampled_from(["Cluster", "Local"]),
    )


CONDITIONS = ({"ready": True}, {"ready": False}, {"ready": False, "serving": True, "terminating": True})


def slices():
    endpoint = st.builds(
        lambda address, node, conditions: an_endpoint(address, node=node, **conditions),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00:1::1"]),
        st.sampled_from([None, "x", "y"]),
        st.sampled_from(CONDITIONS),
    )
    return st.builds(
        lambda endpoints, service, ports, family: a_slice(*endpoints, service=service, ports=ports, family=family),
        st.lists(endpoint, max_size=3),
        st.sampled_from(NAMES),
        st.lists(st.tuples(st.sampled_from([None, "p"]), st.sampled_from([8080, 8081])), max_size=2),
        st.sampled_from(["IPv4", "IPv4", "IPv6"]),
    )


SLICE_KEYS = ("s", "t")
EVENTS = st.lists(
    st.one_of(
        *(st.tuples(st.just("service"), st.just(f"shop/{name}"), st.none() | services(name)) for name in NAMES),
        *(st.tuples(st.just("slice"), st.just(f"shop/{key}"), st.none() | slices()) for key in SLICE_KEYS),
    ),
    max_size=20,
)


def tell(directory, event):
    kind, key, value = event
    return directory.service_changed(key, value) if kind == "service" else directory.slice_changed(key, value)


def answers(directory):
    return {
        (address, port, node): directory.resolve(address, port, node=node)
        for address in ADDRESSES
        for port in (*PORTS, 99)
        for node in NODES
    }


@given(EVENTS, st.data())
def test_only_the_final_objects_count(events, data):
    directory = ServiceDirectory()
    for event in events:
        tell(directory, event)
    final = list({(kind, key): (kind, key, value) for kind, key, value in events}.values())
    for event in data.draw(st.lists(st.sampled_from(final), max_size=5)) if final else []:
        tell(directory, event)
    fresh = ServiceDirectory()
    for event in data.draw(st.permutations(final)):
        tell(fresh, event)
    assert answers(directory) == answers(fresh)


@given(EVENTS)
def test_every_answer_that_changes_is_told(events):
    directory = ServiceDirectory()
    before = answers(directory)
    for event in events:
        changed = tell(directory, event)
        after = answers(directory)
        for (address, port, node), answered in after.items():
            if answered != before[address, port, node]:
                assert is_among(changed, address, port)
        before = after


@given(EVENTS)
def test_nothing_is_left_when_all_is_gone(events):
    directory = ServiceDirectory()
    for event in events:
        tell(directory, event)
        answers(directory)
    for kind, key, _ in events:
        tell(directory, (kind, key, None))
    left = {name: value for name, value in vars(directory).items() if name != "_seen"}
    assert not any(left.values())
