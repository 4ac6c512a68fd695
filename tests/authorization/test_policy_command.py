"""`kube-gateway policy`: what is said of policies, and of who may reach whom by them."""

from __future__ import annotations

import json

import pytest

from kube_gateway.cli.main import run

HEAD = "apiVersion: kube-gateway.io/v1alpha1\nkind: GatewayPolicy\nmetadata: {name: orders}\n"
GOOD = HEAD + (
    """
spec:
  selector: {matchLabels: {app: orders}}
  rules:
    - from: [{serviceAccount: web}]
      ports: [9000]
    - action: deny
      from: [{namespace: test}]
"""
)
WEB = "spiffe://cluster.local/ns/default/sa/web"


@pytest.fixture
def policy(tmp_path):
    def write(text):
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_a_policy_without_remarks(policy, capfd):
    assert run(["policy", "lint", policy(GOOD)]) == 0
    assert capfd.readouterr().out == "1 policy, all well\n"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{selector: {}}", "default/orders spec.rules: it has no rules and allows by default: it does nothing"),
        ("{selector: {}, default: deny}", "default/orders spec.rules: nobody reaches the selected pods"),
        ("{selector: {}, rules: [{from: [{anyone: true}]}]}", "spec.rules[0].from: anyone may reach these ports"),
        ('{selector: {}, rules: [{from: [{identity: "spiffe://d/*"}]}]}', "no workload has an id like spiffe://d/*"),
        (
            "{selector: {}, rules: [{from: [{namespace: a}], ports: [80]}, {action: deny, from: [{anyone: true}]}]}",
            "spec.rules[0]: it allows what rule 2 denies to everybody",
        ),
        (
            "{selector: {}, rules: [{from: [{namespace: a}]}, {from: [{namespace: a}]}]}",
            "spec.rules[1]: it is the same as rule 1",
        ),
    ],
)
def test_what_is_most_likely_not_meant(policy, capfd, spec, said):
    assert run(["policy", "lint", policy(f"{HEAD}spec: {spec}")]) == 1
    assert said in capfd.readouterr().out


def test_a_policy_that_is_wrong_is_an_error_by_its_field(policy, capfd):
    assert run(["policy", "lint", policy(GOOD.replace("9000", "90000"))]) == 2
    assert capfd.readouterr().err.startswith("error: spec.rules[0].ports[0]: ")
    assert run(["policy", "lint", "/nonexistent"]) == 2


def explain(policy, *arguments, text=GOOD, pod="orders"):
    return run(["policy", "explain", "--file", policy(text), "--to", pod, *arguments])


def test_who_may_and_which_rule_decides(policy, capfd):
    assert explain(policy, "--from", WEB, "--port", "9000") == 0
    assert capfd.readouterr().out == (
        f"{WEB} may reach default/orders port 9000: policy default/orders rule 1\n"
        f"  default/orders rule 1: allow {WEB}\n"
        "  default/orders rule 2: deny spiffe://cluster.local/ns/test/sa/*\n"
    )
    assert explain(policy, "--from", WEB.replace("web", "job"), "--port", "9000") == 1
    assert "may not reach default/orders port 9000: policy default/orders: no rule allows it" in capfd.readouterr().out
    assert explain(policy, "--from", "none", "--port", "1") == 1
    assert "a peer that proves nothing may not reach" in capfd.readouterr().out


def test_a_pod_that_no_policy_selects(policy, capfd):
    assert explain(policy, "--from", "none", "--port", "9000", pod="other") == 0
    assert capfd.readouterr().out.endswith("no policy is about it\nno policy selects the pod\n")


def test_what_a_dry_run_would_do(policy, capfd):
    text = GOOD.replace("spec:\n", "spec:\n  dryRun: true\n")
    assert explain(policy, "--from", "none", "--port", "9000", "-o", "json", text=text) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["allowed"], found["would_deny"]) == (True, "policy default/orders rule 2")


def test_what_is_no_id_is_refused(policy, capfd):
    assert explain(policy, "--from", "web", "--port", "9000") == 2
    assert "hint: spiffe://" in capfd.readouterr().err
