"""Services and their slices come, change and go, in any order."""

from __future__ import annotations

import pytest

from kube.service_parts import a_directory, a_service, a_slice, an_endpoint, answer
from kube_gateway.kube.services import ANY_PORT, ServiceDirectory, is_among


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
