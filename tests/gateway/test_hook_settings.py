"""What the hooks are told for a pod's settings. The longest prefix decides, so that is how rules are read here too."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.control.messages import Configure
from kube_gateway.gateway import hook_settings
from kube_gateway.gateway.hook_settings import STALE_AFTER, configure_hooks
from kube_gateway.model.settings import Settings

PERMISSIVE = Settings(wanted=True, encryption="permissive")


class Recorder:
    """Takes what the kernel side would be told."""

    def __init__(self) -> None:
        self.told: list[dict[str, object]] = []

    def configure(self, **values: object) -> None:
        self.told.append(values)


@pytest.fixture(autouse=True)
def a_router(monkeypatch):
    monkeypatch.setattr(hook_settings, "routers", lambda: ("10.0.0.1",))


def told(settings: Settings = PERMISSIVE, *, capture: bool = True, probes: dict | None = None, **more: object) -> dict:
    recorder = Recorder()
    message = Configure(revision=1, addresses=("10.0.0.2", "fd00::2"), settings=settings, **probes or {})
    configure_hooks(recorder, message, gateway_cgroups=(77,), capture=capture, **more)
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
        "makers": [],
        "gate": "open",
        "exempt": [("10.0.0.1", 32, True)],
        "probe_ports": [],
        "served_ports": [],
        "udp": "allow",
        "control_port": 0,
        "errands": False,
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


STRICT = Settings(wanted=True, encryption="strict")


def test_a_strict_pod_is_reached_through_the_tunnel_alone():
    assert told(STRICT)["gate"] == "all"
    assert told(msgspec.structs.replace(STRICT, accept_only=True))["gate"] == "all"


@pytest.mark.parametrize(("closed", "gate"), [((), "open"), ((80, 443), [80, 443]), ("all", "all")])
def test_policies_close_ports_of_a_pod_that_is_not(closed, gate):
    assert told(closed_ports=closed)["gate"] == gate
    assert told(STRICT, closed_ports=closed)["gate"] == "all"


def test_a_gateway_that_captures_nothing_opens_everything():
    settings = msgspec.structs.replace(STRICT, udp="block")
    values = told(settings, capture=False, closed_ports="all")
    assert (values["gate"], values["udp"]) == ("open", "allow")


def test_sources_that_are_exempt_reach_all_ports_and_those_of_probes_some():
    settings = msgspec.structs.replace(STRICT, exempt_sources=("10.9.0.0/16", "fd09::/64"))
    probes = {"probe_sources": ("192.0.2.1", "10.0.0.1", "2001:db8::1"), "probe_ports": (8080,)}
    values = told(settings, probes=probes)
    assert values["exempt"] == [
        ("10.9.0.0", 16, False),
        ("fd09::", 64, False),
        ("192.0.2.1", 32, True),
        ("10.0.0.1", 32, True),
        ("2001:db8::1", 128, True),
    ]
    assert values["probe_ports"] == [8080]


@pytest.mark.parametrize(
    ("settings", "served"),
    [
        (STRICT, []),
        (Settings(wanted=True, encryption="off"), [18001]),
        (Settings(wanted=True, encryption="strict", ai=True, metrics_port=15090), [15090]),
        (Settings(wanted=True, encryption="off", ai=True, metrics_port=15090), [18001, 15090]),
        (Settings(wanted=True, encryption="none", ai=True), []),
    ],
)
def test_what_the_gateway_itself_serves_in_clear(settings, served):
    assert told(settings)["served_ports"] == served


def test_only_a_policy_for_llm_calls_sends_the_gateway_elsewhere():
    assert told(STRICT)["errands"] is False
    assert told(msgspec.structs.replace(STRICT, ai=True))["errands"] is True


@pytest.mark.parametrize("udp", ["allow", "dns-only", "block"])
def test_what_udp_may_is_passed_on(udp):
    assert told(msgspec.structs.replace(PERMISSIVE, udp=udp))["udp"] == udp


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
