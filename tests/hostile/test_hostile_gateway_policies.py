"""A GatewayPolicy of a user with rights in a namespace: read, or refused, and never less strict than it was."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostile.inputs import broken, corpus, near, values
from hostile.length import amount
from kube_gateway._native import NativeError, decide_access
from kube_gateway.authorization.policy_set import PolicySet
from kube_gateway.authorization.reading import read_policies
from kube_gateway.errors import UsageError
from kube_gateway.model.authorization import LARGEST_AUTHORIZATION, closed_ports, decode_authorization
from kube_gateway.model.pod import Pod
from properties import cases

READ = "Whatever is in a GatewayPolicy is read, or an error for its author"
CLOSED = "A GatewayPolicy that cannot be understood denies, or leaves what was in force; it never opens a port"
LARGEST = (
    "The largest rules that a pod may have are decided on within half a second, also with patterns made to be slow"
)
RULES = "Whatever a core is told as rules of access is understood or refused, and decides"

POD = Pod(
    name="web",
    uid="1",
    namespace="shop",
    service_account="web",
    addresses=("10.0.0.2",),
    labels={"app": "web", "tier": "front"},
)
PEERS = (None, "spiffe://d/ns/shop/sa/web", "spiffe://d/ns/a/sa/b")
DENYING = {
    "apiVersion": "kube-gateway.io/v1alpha1",
    "kind": "GatewayPolicy",
    "metadata": {"namespace": "shop", "name": "p"},
    "spec": {"selector": {}, "default": "deny"},
}

_words = st.sampled_from(
    ["a", "*", "shop", "web", "allow", "deny", "In", "80", "1-9", "9-1", "spiffe://d/ns/*/sa/*", "é"]
)
_some = _words | st.sampled_from([1, 80, 65535, 0, True]) | values
_peer = st.dictionaries(st.sampled_from(["identity", "namespace", "serviceAccount", "x"]), _some, max_size=3)
_rule = st.dictionaries(
    st.sampled_from(["action", "from", "ports", "x"]), _some | st.lists(_some | _peer, max_size=3), max_size=3
)
_selector = st.dictionaries(
    st.sampled_from(["matchLabels", "matchExpressions", "x"]),
    st.dictionaries(st.sampled_from(["app", "tier", ""]), _some, max_size=2)
    | st.lists(st.dictionaries(st.sampled_from(["key", "operator", "values"]), _some, max_size=3), max_size=2),
    max_size=2,
)
_spec = st.fixed_dictionaries(
    {"selector": _selector | _some},
    optional={
        "default": st.sampled_from(["allow", "deny"]) | _some,
        "dryRun": st.booleans() | _some,
        "rules": st.lists(_rule, max_size=3) | _some,
        "x": _some,
    },
)
_right = {
    "selector": {
        "matchLabels": {"app": "web"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}],
    },
    "default": "deny",
    "dryRun": False,
    "rules": [
        {
            "from": [{"namespace": "shop", "serviceAccount": "*"}, {"identity": "spiffe://d/ns/a/**"}],
            "ports": [80, "443-445"],
        },
        {"action": "deny", "from": [{"serviceAccount": "old-*"}], "ports": [9]},
    ],
}
_objects = near({**DENYING, "spec": _right}) | st.builds(lambda spec: {**DENYING, "spec": spec}, _spec | values)


def allowed(policies: PolicySet, peer: str | None, port: int) -> bool:
    """What the core decides by the text that a gateway is given."""
    text = policies.text_for(POD)
    return not text or decide_access(rules=text.encode(), peer=peer, port=port)[0][0]


def test_hostile_texts_of_policies_are_read_or_refused(figures):
    outcomes = []

    def read(text: str) -> None:
        try:
            outcomes.append(bool(read_policies(text)))
        except UsageError as error:
            assert error.message
            outcomes.append(False)

    for text in corpus("gateway-policies").values():
        read(text.decode())

    @cases(amount(full=5000, short=200))
    @given(_objects.map(json.dumps), st.data())
    def every_text(text, data):
        read(data.draw(broken(text.encode())).decode(errors="replace") if data.draw(st.booleans()) else text)

    every_text()
    assert {True, False} == set(outcomes)
    figures(READ, policies=len(outcomes), refused=outcomes.count(False))


def test_what_is_not_understood_never_opens_a_port(figures):
    tried = misunderstood = 0

    def put(value: Any) -> None:
        nonlocal tried, misunderstood
        tried += 1
        new = PolicySet(trust_domain="d")
        new.put("shop/p", value)
        new.text_for(POD)
        later = PolicySet(trust_domain="d")
        later.put("shop/p", DENYING)
        later.put("shop/p", value)
        if "shop/p" not in new.problems:
            return
        misunderstood += 1
        # Whom it is about may be what cannot be read: then it is about all of its namespace.
        if new.selecting(POD):
            assert not any(allowed(new, peer, port) for peer in PEERS for port in (1, 80, 65535))
        assert not any(allowed(later, peer, port) for peer in PEERS for port in (1, 80, 65535))

    @cases(amount(full=5000, short=200))
    @given(_objects)
    def every_object(value):
        put(value)

    every_object()
    assert 0 < misunderstood < tried
    figures(CLOSED, policies=tried, not_understood=misunderstood, ports_opened=0)


@pytest.mark.parametrize("peer", PEERS)
def test_hostile_rules_are_understood_or_refused_by_the_core(figures, peer):
    policies = PolicySet(trust_domain="d")
    rules = [
        {"action": "deny", "from": [{"namespace": "a*"}], "ports": ["1-99"]},
        {"from": [{"namespace": "shop"}], "ports": [80, "443"]},
    ]
    policies.put("shop/p", {**DENYING, "spec": {"selector": {}, "default": "deny", "rules": rules}})
    right = policies.text_for(POD).encode()
    assert not policies.problems
    refused = tried = 0

    def decide(text: bytes) -> None:
        nonlocal refused, tried
        tried += 1
        try:
            decide_access(rules=text, peer=peer, port=80)
        except NativeError:
            refused += 1

    for text in corpus("messages").values():
        decide(text)

    @cases(amount(full=10_000, short=300))
    @given(broken(right) | st.binary(max_size=200) | _objects.map(lambda value: json.dumps(value).encode()))
    def every_text(text):
        decide(text)

    every_text()
    assert refused > 0
    figures(RULES, rules=tried, refused=refused)


MANY_PORTS = [
    {"from": [{"serviceAccount": "web"}], "ports": [f"{port}-{port + 1}" for port in range(first, first + 192, 3)]}
    for first in range(1, 64 * 192, 192)
]
SLOW_PATTERNS = [{"from": [{"identity": f"spiffe://{'**a' * 160}{number}"} for number in range(64)]} for _ in range(2)]


@pytest.mark.parametrize("rules", [MANY_PORTS, SLOW_PATTERNS], ids=["ports", "patterns"])
def test_the_largest_rules_cost_little(figures, rules):
    policies = PolicySet(trust_domain="d")
    policies.put("shop/p", {**DENYING, "spec": {"selector": {}, "rules": rules}})
    assert not policies.problems
    text = policies.text_for(POD)
    assert LARGEST_AUTHORIZATION * 0.8 < len(text) <= LARGEST_AUTHORIZATION
    began = time.process_time()
    assert closed_ports(decode_authorization(text))
    closing = time.process_time() - began
    began = time.process_time()
    # As long as an id may be, and each character of it may be where a pattern goes on.
    assert not decide_access(rules=text.encode(), peer=f"spiffe://{'a' * 2000}", port=10)[0][0]
    deciding = time.process_time() - began
    assert max(closing, deciding) < 0.5
    figures(LARGEST, rules=len(rules), closing_ms=closing * 1000, reading_and_deciding_ms=deciding * 1000)
