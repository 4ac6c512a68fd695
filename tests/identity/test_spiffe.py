"""SPIFFE ids."""

from __future__ import annotations

import pytest

from kube_gateway.errors import IdentityError
from kube_gateway.identity.spiffe import SpiffeId, spiffe_id_of
from kube_gateway.model.pod import Pod


def test_the_id_of_a_pod_names_namespace_and_service_account():
    pod = Pod(name="web", uid="1", namespace="shop", service_account="frontend")
    assert str(spiffe_id_of(pod, trust_domain="example.org")) == "spiffe://example.org/ns/shop/sa/frontend"


@pytest.mark.parametrize(
    ("trust_domain", "namespace", "service_account"),
    [
        ("Example.org", "a", "b"),
        ("", "a", "b"),
        ("user@example.org", "a", "b"),
        ("example.org/ns/x", "a", "b"),
        ("example.org", "a/sa/admin", "b"),
        ("example.org", "..", "b"),
        ("example.org", "", "b"),
        ("example.org", "a", ""),
        ("example.org", "a", "b/c"),
        ("example.org", "a", "b?x"),
    ],
)
def test_a_name_cannot_add_segments_nor_be_none(trust_domain, namespace, service_account):
    with pytest.raises(IdentityError):
        SpiffeId(trust_domain=trust_domain, namespace=namespace, service_account=service_account)
