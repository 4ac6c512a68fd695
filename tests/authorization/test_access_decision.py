"""Who may reach which port: what rules mean, and that the core decides the same."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authorization.authorization_strategies import AUTHORIZATIONS, PATTERNS, PEERS, PORTS
from kube_gateway import _native
from kube_gateway.model.authorization import (
    DENY_EVERYTHING,
    EVERY_PORT,
    AccessRule,
    Authorization,
    PolicyRules,
    closed_ports,
    decide_access,
    decode_authorization,
    encode_authorization,
    matches,
)
from properties import cases

WEB, JOB = "spiffe://d/ns/shop/sa/web", "spiffe://d/ns/batch/sa/job"


def rule(action="allow", *peers, ports=EVERY_PORT):
    return AccessRule(action=action, anyone=not peers, peers=peers, ports=ports)


def policy(*rules, name="shop/p", default="allow", dry_run=False):
    return PolicyRules(policy=name, dry_run=dry_run, default=default, rules=rules)


def verdict(*policies, peer=WEB, port=80):
    return decide_access(Authorization(policies=policies), peer=peer, port=port).verdict


def test_without_policies_everybody_may():
    assert verdict(peer=None).allowed
    assert verdict().reason == "no policy is about it"


def test_a_rule_that_denies_wins_over_one_that_allows_wherever_it_stands():
    allow, deny = rule("allow", WEB), rule("deny", WEB)
    for policies in ((policy(allow, deny),), (policy(deny, allow),), (policy(allow), policy(deny, name="shop/q"))):
        assert not verdict(*policies).allowed
    assert verdict(policy(allow, deny)).reason == "policy shop/p rule 2"


def test_who_is_allowed_a_port_closes_it_for_others_and_no_other_port():
    rules = policy(rule("allow", WEB, ports=((80, 80),)))
    assert verdict(rules).reason == "policy shop/p rule 1"
    assert verdict(rules, peer=JOB).reason == "policy shop/p: no rule allows it"
    assert verdict(rules, peer=JOB, port=81).allowed


def test_any_policy_that_denies_by_default_does_and_a_rule_lifts_it():
    denying, allowing = policy(name="shop/all", default="deny"), policy(rule("allow", WEB, ports=((80, 80),)))
    assert verdict(denying, allowing).allowed
    assert verdict(denying, allowing, port=81).reason == "policy shop/all: no rule allows it"
    assert not verdict(denying, allowing, peer=JOB).allowed


def test_ranges_of_ports_include_both_ends():
    rules = policy(rule("deny", WEB, ports=((8000, 8010),)))
    assert [port for port in range(7999, 8013) if not verdict(rules, port=port).allowed] == list(range(8000, 8011))


def test_who_has_proved_nothing_is_met_by_what_is_about_anyone_and_by_all_that_denies():
    assert not verdict(policy(rule("allow", "**")), peer=None).allowed
    assert verdict(policy(rule("allow")), peer=None).allowed
    assert not verdict(policy(rule("deny", WEB)), peer=None).allowed
    assert verdict(policy(rule("deny", WEB)), peer=JOB).allowed


def test_a_dry_run_denies_nothing_and_says_what_it_would():
    decision = decide_access(
        Authorization(policies=(policy(default="deny", dry_run=True), policy(rule("deny", JOB), name="shop/q"))),
        peer=WEB,
        port=80,
    )
    assert decision.verdict.allowed
    assert decision.dry.reason == "policy shop/p: no rule allows it"


def test_a_dry_run_that_allows_lifts_nothing_that_is_in_force():
    decision = decide_access(
        Authorization(policies=(policy(default="deny"), policy(rule("allow"), name="shop/q", dry_run=True))),
        peer=WEB,
        port=80,
    )
    assert not decision.verdict.allowed
    assert decision.dry is None


def test_while_rules_are_not_known_nobody_may():
    assert not decide_access(DENY_EVERYTHING, peer=WEB, port=80).verdict.allowed
    assert closed_ports(DENY_EVERYTHING) == EVERY_PORT


@pytest.mark.parametrize(
    ("pattern", "met", "not_met"),
    [
        ("spiffe://d/ns/shop/sa/*", [WEB], ["spiffe://d/ns/shop/sa/a/b", JOB, "spiffe://d/ns/shop/sa"]),
        ("spiffe://d/ns/*/sa/web", [WEB, "spiffe://d/ns/x/sa/web"], ["spiffe://d/ns/x/y/sa/web", f"{WEB}2"]),
        ("spiffe://d/**", [WEB, JOB], ["spiffe://e/ns/shop/sa/web", "xspiffe://d/a"]),
        (WEB, [WEB], [f"{WEB}/", WEB.upper()]),
    ],
)
def test_patterns(pattern, met, not_met):
    assert [matches(pattern, one) for one in met] == [True] * len(met)
    assert [matches(pattern, one) for one in not_met] == [False] * len(not_met)


@cases(400)
@given(AUTHORIZATIONS, PEERS, PORTS)
def test_the_core_decides_the_same(authorization, peer, port):
    decided = decide_access(authorization, peer=peer, port=port)
    expected = tuple(one and (one.allowed, one.policy, one.rule) for one in (decided.verdict, decided.dry))
    text = encode_authorization(authorization)
    assert _native.decide_access(rules=text.encode(), peer=peer, port=port) == expected
    assert decode_authorization(text) == authorization


@cases(200)
@given(PATTERNS, st.one_of(PATTERNS, PEERS.filter(lambda peer: peer is not None)))
def test_the_core_matches_the_same(pattern, peer):
    rules = Authorization(
        policies=(policy(AccessRule(action="deny", anyone=False, peers=(pattern,), ports=EVERY_PORT)),)
    )
    denied = not _native.decide_access(rules=encode_authorization(rules).encode(), peer=peer, port=1)[0][0]
    assert denied == matches(pattern, peer)


@cases(200)
@given(AUTHORIZATIONS, st.sampled_from([*range(1, 16), 65534, 65535]))
def test_closed_ports_are_those_that_nobody_reaches_without_proof(authorization, port):
    ranges = closed_ports(authorization)
    closed = any(first <= port <= last for first, last in ranges)
    assert closed == (not decide_access(authorization, peer=None, port=port).verdict.allowed)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(ranges))


@pytest.mark.parametrize("text", ["{", '{"policies": 1}', '{"policies": [], "more": 1}', "null", "[]"])
def test_text_that_is_no_rules_is_an_error_on_both_sides(text):
    with pytest.raises(ValueError):
        decode_authorization(text)
    with pytest.raises(_native.NativeError):
        _native.decide_access(rules=text.encode(), peer=None, port=1)
