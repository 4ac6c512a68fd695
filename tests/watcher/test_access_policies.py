"""GatewayPolicies in a cluster: which gateways are told what, and what the policies' status says."""

from __future__ import annotations

import asyncio
import json

import pytest

from kube_gateway.authorization.reading import read_spec
from kube_gateway.authorization.schema import GatewayPolicy
from kube_gateway.model.authorization import decide_access, decode_authorization
from kube_gateway.model.flow import AccessReport, Denial
from kube_gateway.watcher.policy_status import PolicyStatus, Selected, status_of
from watcher.made import pod_body
from watcher.steps import annotate, rest, watch

WEB, JOB = "spiffe://cluster.local/ns/shop/sa/web", "spiffe://cluster.local/ns/shop/sa/job"
SPEC = {"selector": {"matchLabels": {"app": "web"}}, "rules": [{"from": [{"serviceAccount": "web"}], "ports": [80]}]}


def put(world, spec=SPEC, *, name="orders", namespace="shop"):
    world.api.missing.discard("gatewaypolicies")
    metadata = {"name": name, "namespace": namespace, "generation": 3}
    world.api.put("gatewaypolicies", {"metadata": metadata, "spec": spec})


def pod(world, name="web", *, address="10.0.0.2", app="web"):
    body = pod_body(name, address=address, encrypt="true")
    body["metadata"]["labels"] = {"app": app}
    world.api.put("pods", body)


def gateway(world, name="web"):
    return next(one for one in world.gateways.values() if one.key == f"shop/{name}")


def allows(world, peer, *, name="web", port=80):
    return decide_access(decode_authorization(gateway(world, name).authorization), peer=peer, port=port).verdict.allowed


def told_at_the_start(world, name="web"):
    """Whether the container was told that there are rules."""
    (container,) = world.api.objects["pods"][f"shop/{name}"]["spec"]["ephemeralContainers"]
    settings = next(one["value"] for one in container["env"] if one["name"] == "KUBE_GATEWAY_SETTINGS")
    return json.loads(settings).get("authorize", False)


async def test_pods_that_a_policy_selects_get_its_rules_and_no_others(world):
    put(world)
    pod(world)
    pod(world, "other", address="10.0.0.3", app="other")
    watch(world)
    await rest(world)
    assert (allows(world, WEB), allows(world, JOB)) == (True, False)
    assert told_at_the_start(world)
    assert gateway(world, "other").authorization == ""
    assert not told_at_the_start(world, "other")


async def test_changes_of_a_policy_and_of_labels_are_followed(world):
    put(world)
    pod(world)
    watch(world)
    await rest(world)
    put(world, {**SPEC, "rules": [{"from": [{"serviceAccount": "job"}]}]})
    await rest(world)
    assert (allows(world, WEB), allows(world, JOB)) == (False, True)
    world.api.change("pods", "shop/web", lambda body: body["metadata"].update(labels={"app": "x"}))
    await rest(world)
    assert gateway(world).authorization == ""
    world.api.change("pods", "shop/web", lambda body: body["metadata"].update(labels={"app": "web"}))
    await rest(world)
    assert not allows(world, WEB)
    world.api.remove("gatewaypolicies", "shop/orders")
    await rest(world)
    assert gateway(world).authorization == ""


async def test_a_cluster_without_the_definition_has_no_policies_until_it_is_installed(world):
    pod(world)
    watch(world)
    await rest(world)
    assert gateway(world).authorization == ""
    put(world)
    await asyncio.sleep(0.2)
    await rest(world)
    assert not allows(world, JOB)


async def test_who_may_not_read_policies_leaves_gateways_the_rules_that_they_have(world, caplog):
    put(world)
    pod(world)
    first = watch(world)
    await rest(world)
    before = gateway(world).authorization
    gateway(world).lose()
    await first.end()
    world.watchers.clear()
    world.api.forbidden.add("gatewaypolicies")
    watch(world)
    annotate(world, encrypt="strict")
    world.api.change("pods", "shop/web", lambda body: body["metadata"].update(labels={"app": "web"}))
    await rest(world)
    assert gateway(world).settings.encryption == "strict"
    assert gateway(world).authorization == before
    assert "the role needs the rule" in caplog.text


async def test_nobody_gets_into_a_pod_that_starts_while_policies_may_not_be_read(world):
    put(world)
    world.api.forbidden.add("gatewaypolicies")
    pod(world)
    watch(world)
    await rest(world)
    assert told_at_the_start(world)
    assert gateway(world).authorization is None


async def test_a_policy_that_is_not_right_denies_where_none_was_right_before(world):
    put(world, {**SPEC, "rules": [{"from": [{"serviceAccount": "web"}], "ports": ["90-80"]}]})
    pod(world)
    watch(world)
    await rest(world)
    assert not allows(world, WEB)


async def test_the_status_says_whom_it_selects_and_who_enforces_it(world):
    put(world)
    pod(world)
    body = pod_body("bare", address="10.0.0.3")
    body["metadata"]["labels"] = {"app": "web"}
    world.api.put("pods", body)
    watcher = watch(world)
    await rest(world)
    writer = PolicyStatus(world.api.client(), cluster=watcher.cluster)
    await writer.look()
    status = world.api.objects["gatewaypolicies"]["shop/orders"]["status"]
    assert (status["selected"], status["enforcing"], status["observedGeneration"]) == (2, 1, 3)
    assert [(one["type"], one["status"], one["reason"]) for one in status["conditions"]] == [
        ("Accepted", "True", "Accepted"),
        ("Enforced", "False", "PodsWithoutGateway"),
    ]
    await rest(world)
    writes = len(world.api.writes)
    await writer.look()
    assert len(world.api.writes) == writes


POLICY = GatewayPolicy(namespace="shop", name="orders", spec=read_spec(SPEC))


def denial(policy="shop/orders", *, dry_run=False, count=1):
    return Denial(peer=JOB, address="10.0.0.9", port=80, policy=policy, rule=0, dry_run=dry_run, count=count, last=1.0)


@pytest.mark.parametrize(
    ("selected", "reason"),
    [
        ([], "NoPodSelected"),
        ([Selected(rules="x", has_gateway=True, access=AccessReport(rules="y"))], "GatewaysBehind"),
        ([Selected(rules="x", has_gateway=True, access=AccessReport(rules="x"))], "Enforced"),
    ],
)
def test_reasons(selected, reason):
    status = status_of(POLICY, selected, problem="", generation=1, before={})
    assert status["conditions"][1]["reason"] == reason


def test_denials_are_counted_by_policy():
    access = AccessReport(rules="x", denials=(denial(count=2), denial(dry_run=True, count=3), denial("shop/other")))
    status = status_of(
        POLICY, [Selected(rules="x", has_gateway=True, access=access)], problem="", generation=1, before={}
    )
    assert (status["denied"], status["wouldDeny"]) == (2, 3)


def test_times_stay_while_a_condition_does():
    before = status_of(POLICY, [], problem="", generation=1, before={})
    for one in before["conditions"]:
        one["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    after = status_of(POLICY, [], problem="spec.rules: ?", generation=2, before=before)
    accepted, enforced = after["conditions"]
    assert accepted["status"] == "False"
    assert accepted["lastTransitionTime"] != "2020-01-01T00:00:00Z"
    assert enforced["lastTransitionTime"] == "2020-01-01T00:00:00Z"
