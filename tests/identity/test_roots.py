"""A root takes the place of another only if whoever takes the one takes the other."""

from __future__ import annotations

import pytest
from cryptography import x509

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import new_authority, parse_authority
from kube_gateway.identity.roots import Roots, begin, successor


def read(authority, *, trust_domain):
    """As one that is told this trust domain reads it."""
    files = (authority.certificate_pem.encode(), authority.key_pem.encode())
    return parse_authority(*files, names=("ca-cert", "ca-key"), trust_domain=trust_domain)


def names(authority):
    return [
        extension.value.get_values_for_type(x509.UniformResourceIdentifier)
        for extension in authority.certificate.extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
    ]


def test_the_one_that_is_made_names_the_trust_domain_of_the_one_in_use():
    made = successor(new_authority("shop.example"))
    assert (made.names_trust_domain, names(made)) == (True, [["spiffe://shop.example"]])
    assert read(made, trust_domain=None).trust_domain == "shop.example"


def test_the_one_that_is_made_names_none_where_the_one_in_use_does_not():
    """Only whoever was told the trust domain knows it, and whoever makes the root may be another."""
    old = new_authority("cluster.local", named=False)
    made = successor(old)
    assert (old.names_trust_domain, made.names_trust_domain, names(made)) == (False, False, [])
    for told in ("cluster.local", "shop.example"):
        assert read(made, trust_domain=told).trust_domain == told
    assert made.trust_domain == old.trust_domain
    assert "cluster.local" not in made.certificate.subject.rfc4514_string()
    begun = begin(Roots(current=old), made, now=1.0)
    assert begun.rotation.new == made.fingerprint


def test_one_that_names_a_trust_domain_does_not_replace_one_that_names_none():
    old = Roots(current=new_authority("cluster.local", named=False))
    with pytest.raises(IdentityError) as raised:
        begin(old, new_authority("cluster.local"), now=1.0)
    assert raised.value.message == (
        "the root in use names no trust domain, and the new one names cluster.local: whether watchers would take it is "
        "not known here"
    )
    assert raised.value.hint == "use a root that names none, or leave out --directory, and such a one is made"


def test_one_that_names_none_replaces_one_of_the_trust_domain_that_it_is_taken_for():
    old, new = Roots(current=new_authority("cluster.local")), new_authority("cluster.local", named=False)
    assert begin(old, new, now=1.0).following is new
    with pytest.raises(IdentityError, match=r"of the trust domain cluster\.local, not shop\.example"):
        begin(Roots(current=new_authority("shop.example")), read(new, trust_domain=None), now=1.0)
