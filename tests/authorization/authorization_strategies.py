"""Policies, peers and ports of a small world, so that they meet."""

from __future__ import annotations

from hypothesis import strategies as st

from kube_gateway.model.authorization import AccessRule, Authorization, PolicyRules

NAMES = st.sampled_from(["a", "b", "web"])
IDS = st.builds(lambda namespace, account: f"spiffe://d/ns/{namespace}/sa/{account}", NAMES, NAMES)
PIECES = st.sampled_from(["*", "**", "a", "b", "w", "e", "/", "ns/", "sa/", "spiffe://d/", "é"])
PATTERNS = st.one_of(
    IDS,
    st.builds(lambda namespace: f"spiffe://d/ns/{namespace}/sa/*", NAMES),
    st.lists(PIECES, max_size=8).map("".join),
)
PEERS = st.one_of(st.none(), IDS, st.lists(PIECES, max_size=8).map("".join))
PORTS = st.one_of(st.integers(1, 12), st.sampled_from([1, 65535]))
RANGES = st.tuples(PORTS, PORTS).map(lambda ends: (min(ends), max(ends)))
RULES = st.builds(
    AccessRule,
    action=st.sampled_from(["allow", "deny"]),
    anyone=st.booleans(),
    peers=st.lists(PATTERNS, max_size=3).map(tuple),
    ports=st.lists(RANGES, max_size=3).map(tuple),
)
POLICIES = st.builds(
    PolicyRules,
    policy=st.sampled_from(["shop/a", "shop/b", "shop/c"]),
    dry_run=st.booleans(),
    default=st.sampled_from(["allow", "deny"]),
    rules=st.lists(RULES, max_size=4).map(tuple),
)
AUTHORIZATIONS = st.builds(Authorization, policies=st.lists(POLICIES, max_size=3).map(tuple))
