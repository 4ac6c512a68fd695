"""What the hooks are told for a pod's settings. The longest prefix decides, so that is how rules are read here too."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.gateway.hook_settings import STALE_AFTER, configure_hooks
from kube_gateway.model.settings import Settings

PERMISSIVE = Settings(wanted=True, encryption="permissive")


class Recorder:
    """Takes what the kernel side would be told."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []

    def configure(self, **values: object) -> None:
        self.told.append(values)


def told(settings: Settings = PERMISSIVE, *, capture: bool = True) -> dict:
    recorder = Recorder()
    configure_hooks(recorder, settings, addresses=("10.0.0.2", "fd00::2"), gateway_cgroups=(77,), capture=capture)
    (values,) = recorder.told
    return values


def changed(**changes: object) -> Settings:
    return Settings(wanted=True, encryption="permissive", **changes)


def captures(settings: Settings, address: str) -> bool:
    """Whether a connection to `address` is captured: the longest prefix decides."""
    target = ipaddress.ip_address(address)
    matching = [
        (length, captured)
        for start, length, captured in told(settings)["rules"]
        if target in ipaddress.ip_network(f"{start}/{length}")
    ]
    longest = max(length for length, _ in matching)
    (decision,) = {captured for length, captured in matching if length == longest}
    return decision


def test_everything_is_said_in_one_call():
    assert told() == {
        "gateway_cgroups": [77],
        "capture": True,
        "strict": False,
        "addresses": ["10.0.0.2", "fd00::2"],
        "rules": [("0.0.0.0", 0, True), ("::", 0, True)],
        "excluded_ports": [],
        "stale_after": STALE_AFTER,
    }


@pytest.mark.parametrize("address", ["10.0.0.9", "203.0.113.1", "fd00::9", "2001:db8::1"])
def test_without_cidrs_everything_is_captured(address):
    assert captures(PERMISSIVE, address)


def test_with_pod_cidrs_nothing_else_is_captured():
    settings = changed(capture_cidrs=("10.1.0.0/16",))
    assert captures(settings, "10.1.200.3")
    assert not captures(settings, "10.2.0.1")
    assert not captures(settings, "fd00::1")


def test_an_excluded_cidr_is_left_alone():
    settings = changed(exclude_cidrs=("10.1.0.0/16", "fd00::/8"))
    assert not captures(settings, "10.1.2.3")
    assert not captures(settings, "fd12::1")
    assert captures(settings, "10.2.0.1")


@pytest.mark.parametrize(
    ("captured", "excluded", "expected"),
    [
        ("10.0.0.0/8", "10.1.0.0/16", {"10.2.0.1": True, "10.1.0.1": False}),
        ("10.1.0.0/16", "10.0.0.0/8", {"10.2.0.1": False, "10.1.0.1": True}),
        ("10.1.0.0/16", "10.1.0.0/16", {"10.1.0.1": False}),
        ("0.0.0.0/0", "0.0.0.0/0", {"10.1.0.1": False}),
    ],
)
def test_the_longer_prefix_wins_and_of_two_equal_ones_the_exclusion(captured, excluded, expected):
    settings = changed(capture_cidrs=(captured,), exclude_cidrs=(excluded,))
    assert {address: captures(settings, address) for address in expected} == expected


def test_excluding_everything_of_one_family_leaves_the_other():
    settings = changed(exclude_cidrs=("0.0.0.0/0",))
    assert not captures(settings, "10.0.0.9")
    assert captures(settings, "fd00::9")


def test_excluded_ports_are_passed_on():
    assert told(changed(exclude_ports=(22, 443)))["excluded_ports"] == [22, 443]


def test_only_strict_refuses_what_is_not_captured():
    assert told(Settings(wanted=True, encryption="strict"))["strict"] is True
    assert told(Settings(wanted=True, encryption="off"))["strict"] is False


def test_a_gateway_that_captures_nothing_refuses_nothing():
    values = told(Settings(wanted=True, encryption="strict"), capture=False)
    assert values["capture"] is False
    assert values["strict"] is False


def test_a_pod_that_only_accepts_has_its_own_connections_left_alone():
    assert told(changed(accept_only=True))["capture"] is False


_CIDRS = st.lists(
    st.builds(
        lambda number, length: str(ipaddress.ip_network((number, length), strict=False)),
        st.integers(0x0A000000, 0x0A0000FF),
        st.integers(0, 32),
    ),
    max_size=4,
).map(tuple)


@given(_CIDRS, _CIDRS, st.integers(0x0A000000, 0x0A0000FF))
def test_rules_never_contradict_each_other(captured, excluded, number):
    address = str(ipaddress.ip_address(number))
    lengths = {
        False: [
            int(cidr.split("/")[1]) for cidr in excluded if ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
        ],
        True: [
            int(cidr.split("/")[1]) for cidr in captured if ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
        ],
    }
    best_out, best_in = max(lengths[False], default=-1), max(lengths[True], default=-1)
    expected = not captured if best_out == best_in == -1 else best_in > best_out
    assert captures(changed(capture_cidrs=captured, exclude_cidrs=excluded), address) == expected
