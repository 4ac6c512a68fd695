"""GatewayPolicies: reading them, whom they select, what they come to for one pod."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.authorization.compiling import compile_for, meets
from kube_gateway.authorization.policy_set import PolicySet
from kube_gateway.authorization.reading import read_policies
from kube_gateway.authorization.schema import Requirement, Selector
from kube_gateway.errors import UsageError
from kube_gateway.model.authorization import LARGEST_AUTHORIZATION, decide_access, decode_authorization
from kube_gateway.model.pod import Pod
from properties import cases

HEAD = "apiVersion: kube-gateway.io/v1alpha1\nkind: GatewayPolicy\nmetadata: {name: orders, namespace: shop}\n"
ORDERS = HEAD + (
    """
spec:
  selector: {matchLabels: {app: orders}}
  rules:
    - from:
        - serviceAccount: web
        - {namespace: batch, serviceAccount: job}
        - identity: spiffe://d/ns/ops/**
        - namespace: monitoring
      ports: [8080, "9000-9010"]
    - action: deny
      from: [{namespace: "test-*"}]
"""
)
POD = Pod(name="orders-1", uid="u", namespace="shop", labels={"app": "orders"})


def object_of(text):
    return yaml.safe_load(text)


def denied(known, peer, *, port=8080, pod=POD):
    rules = decode_authorization(known.text_for(pod))
    return not decide_access(rules, peer=peer, port=port).verdict.allowed


def test_what_authors_write_becomes_patterns_and_ranges():
    (policy,) = read_policies(ORDERS)
    (compiled,) = compile_for(POD, [policy], trust_domain="d").policies
    assert compiled.policy == "shop/orders"
    first, second = compiled.rules
    assert first.peers == (
        "spiffe://d/ns/shop/sa/web",
        "spiffe://d/ns/batch/sa/job",
        "spiffe://d/ns/ops/**",
        "spiffe://d/ns/monitoring/sa/*",
    )
    assert (first.ports, first.anyone) == (((8080, 8080), (9000, 9010)), False)
    assert (second.action, second.peers, second.ports) == ("deny", ("spiffe://d/ns/test-*/sa/*",), ((1, 65535),))


def test_a_rule_may_be_about_anyone():
    (policy,) = read_policies(HEAD + "spec: {selector: {}, rules: [{from: [{anyone: true}], ports: [80]}]}")
    assert compile_for(POD, [policy], trust_domain="d").policies[0].rules[0].anyone


def test_policies_select_by_label_in_their_own_namespace():
    known = PolicySet(trust_domain="d")
    known.put("shop/orders", object_of(ORDERS))
    assert known.text_for(POD)
    assert not known.text_for(Pod(name="x", uid="1", namespace="shop", labels={"app": "web"}))
    assert not known.text_for(Pod(name="x", uid="1", namespace="batch", labels={"app": "orders"}))


@pytest.mark.parametrize(
    ("operator", "values", "labels", "met"),
    [
        ("In", ("a", "b"), {"k": "b"}, True),
        ("In", ("a",), {}, False),
        ("NotIn", ("a",), {}, True),
        ("NotIn", ("a",), {"k": "a"}, False),
        ("Exists", (), {"k": ""}, True),
        ("Exists", (), {}, False),
        ("DoesNotExist", (), {}, True),
        ("DoesNotExist", (), {"k": "a"}, False),
    ],
)
def test_expressions_of_selectors(operator, values, labels, met):
    selector = Selector(match_expressions=(Requirement(key="k", operator=operator, values=values),))
    assert meets(selector, labels) is met


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{}", "spec.selector: it is missing"),
        ("{selector: {}, rules: [{from: [{anyone: true}], ports: [0]}]}", "spec.rules[0].ports[0]"),
        (
            '{selector: {}, rules: [{from: [{anyone: true}], ports: ["90-80"]}]}',
            "spec.rules[0].ports[0]: '90-80' is no port",
        ),
        ("{selector: {}, rules: [{ports: [80]}]}", "spec.rules[0].from: it is missing"),
        ("{selector: {}, rules: [{from: []}]}", "spec.rules[0].from"),
        ("{selector: {}, rules: [{from: null}]}", "spec.rules[0].from"),
        ("{selector: {}, rules: [{from: [{}]}]}", "spec.rules[0].from[0]: name an identity"),
        ("{selector: {}, rules: [{from: [{identity: 'spiffe://d/x', namespace: y}]}]}", "spec.rules[0].from[0]"),
        ("{selector: {}, rules: [{from: [{anyone: true, namespace: x}]}]}", "spec.rules[0].from[0]"),
        ("{selector: {}, rules: [{form: []}]}", "spec.rules[0].form: no such field"),
        ("{selector: {}, dryrun: true}", "spec.dryrun: no such field"),
        ("{selector: {}, default: block}", "spec.default"),
        ("{selector: {matchExpressions: [{key: a, operator: In}]}}", "spec.selector.matchExpressions[0].values"),
        ('{selector: {}, rules: [{from: [{identity: "spiffe://d/x\\n"}]}]}', "spec.rules[0].from[0].identity"),
    ],
)
def test_mistakes_are_told_by_their_field(spec, said):
    with pytest.raises(UsageError) as error:
        read_policies(f"{HEAD}spec: {spec}")
    assert error.value.message.startswith(said)


def test_several_policies_of_one_file():
    other = ORDERS.replace("name: orders", "name: other")
    assert [policy.name for policy in read_policies(f"---\n{ORDERS}---\n{other}---\n")] == ["orders", "other"]
    with pytest.raises(UsageError, match="twice"):
        read_policies(f"{ORDERS}---\n{ORDERS}")
    with pytest.raises(UsageError, match="no policy"):
        read_policies("---\n")


def test_a_policy_that_becomes_wrong_stays_as_it_was_and_says_so():
    known = PolicySet(trust_domain="d")
    known.put("shop/orders", object_of(ORDERS))
    before = known.text_for(POD)
    known.put("shop/orders", object_of(ORDERS.replace("8080", "808080")))
    assert known.text_for(POD) == before
    assert "ports[0]" in known.problems["shop/orders"]
    known.put("shop/orders", object_of(ORDERS))
    assert known.problems == {}


def test_one_that_never_was_right_denies_those_it_is_about():
    known = PolicySet(trust_domain="d")
    known.put("shop/orders", object_of(ORDERS.replace("8080", "808080")))
    assert denied(known, "spiffe://d/ns/shop/sa/web")
    other = Pod(name="x", uid="1", namespace="shop", labels={"app": "web"})
    assert not known.text_for(other)
    known.put_broken("shop/more", "no YAML")
    assert denied(known, "spiffe://d/ns/shop/sa/web", pod=other)
    known.remove("shop/more")
    assert not known.text_for(other)


def test_a_policy_over_which_its_reader_stumbles_is_a_wrong_one(monkeypatch, caplog):
    known = PolicySet(trust_domain="d")
    known.put("shop/orders", object_of(ORDERS))
    before = known.text_for(POD)

    def stumbles(_):
        raise ZeroDivisionError

    monkeypatch.setattr("kube_gateway.authorization.policy_set.read_object", stumbles)
    known.put("shop/orders", object_of(ORDERS.replace("8080", "8081")))
    assert known.text_for(POD) == before
    assert "ZeroDivisionError" in known.problems["shop/orders"]
    assert "Traceback" in caplog.text


def test_changes_of_labels_are_seen():
    known = PolicySet(trust_domain="d")
    known.put("shop/orders", object_of(ORDERS))
    assert known.text_for(POD)
    assert not known.text_for(Pod(name=POD.name, uid=POD.uid, namespace="shop", labels={"app": "x"}))


def test_more_rules_than_a_gateway_takes_deny():
    known = PolicySet(trust_domain="d")
    for number in range(40):
        policy = object_of(ORDERS.replace("name: orders", f"name: p{number}"))
        policy["spec"]["rules"] = [{"from": [{"serviceAccount": "a" * 200}] * 20}]
        known.put(f"shop/p{number}", policy)
    assert len(known.text_for(POD)) <= LARGEST_AUTHORIZATION
    assert denied(known, "spiffe://d/ns/shop/sa/web")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["deny", "80-90", "spiffe://d/*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["selector", "matchLabels", "rules", "from", "ports", "identity", "default", "dryRun", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@cases(300)
@given(JSON)
def test_whatever_a_policy_says_it_is_read_or_denies(spec):
    known = PolicySet(trust_domain="d")
    head = {"apiVersion": "kube-gateway.io/v1alpha1", "kind": "GatewayPolicy"}
    known.put("shop/orders", {**head, "metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    text = known.text_for(POD)
    if known.problems and text:
        assert denied(known, "spiffe://d/ns/shop/sa/web")
    decode_authorization(text)


@cases(200)
@given(st.text(max_size=200))
def test_any_file_is_policies_or_an_error(text):
    try:
        assert read_policies(text)
    except UsageError as error:
        assert error.message
