"""The trust bundle: every root once, and a generation that follows the set of roots."""

from __future__ import annotations

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.identity.authority import create_authority, load_authority
from kube_gateway.identity.bundle import trust_bundle


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    return [create_authority(tmp_path_factory.mktemp("roots"), trust_domain="example.org") for _ in range(3)]


def roots(pem: str) -> set[bytes]:
    return {root.fingerprint(root.signature_hash_algorithm) for root in x509.load_pem_x509_certificates(pem.encode())}


def test_a_bundle_holds_the_roots_and_no_key(authorities):
    bundle = trust_bundle(authorities)
    assert roots(bundle.pem) == {bytes.fromhex(authority.fingerprint) for authority in authorities}
    assert "PRIVATE" not in bundle.pem


def test_a_root_given_twice_is_there_once(authorities):
    assert trust_bundle([authorities[0]] * 3) == trust_bundle(authorities[:1])
    assert trust_bundle([authorities[0]] * 3).pem == authorities[0].certificate_pem


def test_every_set_of_roots_has_a_generation_of_its_own(authorities):
    a, b, c = authorities
    sets = [[], [a], [b], [c], [a, b], [a, c], [b, c], [a, b, c]]
    assert len({trust_bundle(some).generation for some in sets}) == len(sets)


def test_a_watcher_that_starts_again_has_the_same_generation(tmp_path):
    before = trust_bundle([create_authority(tmp_path)])
    assert trust_bundle([load_authority(tmp_path)]) == before


@given(order=st.permutations(range(3)), again=st.lists(st.integers(0, 2), max_size=3))
def test_neither_order_nor_repetition_matters(authorities, order, again):
    assert trust_bundle(authorities[number] for number in [*order, *again]) == trust_bundle(authorities)


def test_a_generation_survives_json_readers_that_only_have_doubles(authorities):
    generation = trust_bundle(authorities).generation
    assert 0 <= generation < 2**53
    assert msgspec.json.decode(msgspec.json.encode(generation)) == generation
