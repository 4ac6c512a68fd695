"""SPIFFE ids."""

from __future__ import annotations

import pytest

from kube_gateway.errors import IdentityError
from kube_gateway.identity.spiffe import SpiffeId, parse_spiffe_id, spiffe_id_of
from kube_gateway.model.pod import Pod


def test_the_id_of_a_pod_names_namespace_and_service_account():
    pod = Pod(name="web", uid="1", namespace="shop", service_account="frontend")
    identity = spiffe_id_of(pod, trust_domain="example.org")
    assert str(identity) == "spiffe://example.org/ns/shop/sa/frontend"
    assert parse_spiffe_id(str(identity)) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org/ns/a/sa/b",
        "spiffe://example.org/ns/a",
        "spiffe://Example.org/ns/a/sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://example.org/ns/a/sa/b/c",
        "spiffe://example.org/ns/../sa/b",
        "spiffe://example.org/ns/a/sa/b?x",
        "spiffe://user@example.org/ns/a/sa/b",
    ],
)
def test_other_texts_are_no_ids(text):
    with pytest.raises(IdentityError):
        parse_spiffe_id(text)


def test_a_name_cannot_add_segments():
    with pytest.raises(IdentityError):
        SpiffeId(trust_domain="example.org", namespace="a/sa/admin", service_account="b")
