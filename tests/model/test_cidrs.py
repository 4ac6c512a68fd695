"""Whether an address is in one of many CIDRs."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.model.cidrs import is_within
from properties import cases

# Few addresses, so that networks touch, overlap and are met.
_V4 = st.integers(0, 255).map(lambda number: ipaddress.IPv4Address(0x0A000000 + number))
_V6 = st.integers(0, 255).map(lambda number: ipaddress.IPv6Address((0xFD << 120) + number))
_ADDRESSES = _V4 | _V6
_CIDRS = st.tuples(_ADDRESSES, st.integers(0, 10)).map(
    lambda drawn: str(ipaddress.ip_network((drawn[0], drawn[0].max_prefixlen - drawn[1]), strict=False))
)


@cases(300)
@given(_ADDRESSES, st.lists(_CIDRS, max_size=6).map(tuple))
def test_an_address_is_within_if_it_is_in_one_of_them(address, cidrs):
    assert is_within(str(address), cidrs) == any(address in ipaddress.ip_network(cidr) for cidr in cidrs)


def test_all_there_is():
    assert is_within("10.0.0.1", ("0.0.0.0/0",))
    assert not is_within("fd00::1", ("0.0.0.0/0",))
    assert is_within("255.255.255.255", ("255.255.255.255/32", "0.0.0.0/32"))


@pytest.mark.parametrize(("address", "cidrs"), [("x", ("10.0.0.0/8",)), ("10.0.0.1", ("10.0.0.1/8",))])
def test_what_is_no_address_or_cidr_is_an_error(address, cidrs):
    with pytest.raises(ValueError):
        is_within(address, cidrs)
