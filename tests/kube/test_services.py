"""Which pods are behind a port of a Service, and which of them are used."""

from __future__ import annotations

import msgspec
import pytest

from kube.service_parts import a_directory, a_service, a_slice, an_endpoint, answer
from kube_gateway.kube.service_objects import EndpointSliceObject


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
