"""ConfigMaps with policies: which are watched, what gateways are sent, and what is told."""

from __future__ import annotations

import asyncio

import pytest

from kube_gateway.ai.policy.read import read_policy
from kube_gateway.model.ai_report import BudgetCount, policy_name
from kube_gateway.watcher import policies as policies_module
from watcher.made import pod_body
from watcher.steps import annotate, events, rest, watch

AI = "kube-gateway.io/AI"
GOOD = "version: 1\n"
OTHER = "version: 1\ndescription: another\n"
BAD = "version: 1\nrules:\n- {name: x, kind: nonsense}\n"


def config_map(text, name="web-kube-gateway", namespace="shop", key="config"):
    return {"metadata": {"name": name, "namespace": namespace}, "data": {key: text}}


def put(world, *maps):
    for one in maps:
        world.api.put("configmaps", one)


def condition(world, name="web", kind=AI):
    found = [
        one for one in world.api.objects["pods"][f"shop/{name}"]["status"].get("conditions", ()) if one["type"] == kind
    ]
    return (found[0]["status"], found[0]["reason"]) if found else None


def message(world, name="web"):
    conditions = world.api.objects["pods"][f"shop/{name}"]["status"]["conditions"]
    return next(one["message"] for one in conditions if one["type"] == AI)


def gateway(world, name="web"):
    return next(one for one in world.gateways.values() if one.key == f"shop/{name}")


def asked(world):
    return {(namespace, fields) for kind, namespace, fields in world.api.read if kind == "configmaps"}


async def test_a_pod_with_ai_control_gets_the_policy_of_its_config_map(world):
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    assert gateway(world).policy.text == GOOD
    assert condition(world) == ("True", "PolicyInForce")
    assert condition(world, kind="kube-gateway.io/Encrypted") == ("False", "EncryptionOff")
    assert message(world) == f"policy {policy_name(GOOD)} (ConfigMap web-kube-gateway) applies to LLM calls"
    assert events(world) == ["GatewayAdded", "PolicyApplied"]


async def test_only_config_maps_that_pods_ask_for_are_read_and_only_by_name(world):
    put(world, config_map(GOOD), config_map("secret", name="other"))
    world.api.put("pods", pod_body(ai="true"))
    world.api.put("pods", pod_body("plain", address="10.0.0.3", encrypt="true"))
    watch(world)
    await rest(world)
    assert asked(world) == {("shop", "metadata.name=web-kube-gateway")}


async def test_without_ai_control_no_config_map_is_read(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world)
    await rest(world)
    assert asked(world) == set()
    assert condition(world) is None


async def test_an_edit_reaches_the_gateway_and_is_told(world):
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    put(world, config_map(OTHER))
    await rest(world)
    assert gateway(world).policy.text == OTHER
    assert events(world) == ["GatewayAdded", "PolicyApplied", "PolicyApplied"]
    world.api.remove("configmaps", "shop/web-kube-gateway")
    await rest(world)
    assert gateway(world).policy.text == ""
    assert condition(world) == ("True", "NoPolicy")
    assert events(world)[-1] == "PolicyApplied"


async def test_a_pod_without_config_map_is_told_that_calls_are_only_counted(world):
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    assert gateway(world).policy.text == ""
    assert condition(world) == ("True", "NoPolicy")
    assert message(world) == "no ConfigMap web-kube-gateway: LLM calls are counted, and pass"
    assert events(world) == ["GatewayAdded"]


async def test_an_edit_that_is_not_right_is_told_by_its_field_and_the_last_policy_stays(world):
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true", encrypt="true"))
    watch(world)
    await rest(world)
    put(world, config_map(BAD))
    await rest(world)
    assert gateway(world).policy.text == GOOD
    (event,) = [one for one in world.api.events if one["reason"] == "InvalidPolicy"]
    assert "rules[0].kind" in event["note"]
    assert event["type"] == "Warning"
    assert condition(world) == ("True", "InvalidPolicy")
    assert f"in force is policy {policy_name(GOOD)}" in message(world)
    # Encryption has nothing to do with it.
    assert condition(world, kind="kube-gateway.io/Encrypted") == ("True", "ProblemInvalidPolicy")
    put(world, config_map(OTHER))
    await rest(world)
    assert gateway(world).policy.text == OTHER
    assert condition(world) == ("True", "PolicyInForce")


async def test_a_pod_that_never_had_a_right_policy_has_none(world):
    put(world, config_map(BAD))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    assert gateway(world).policy.text == ""
    assert condition(world) == ("False", "InvalidPolicy")
    assert "none is in force, and calls pass" in message(world)


@pytest.mark.parametrize("text", ['{"version": 1, "x": ' + "1" * 4301 + "}", "stumbles"])
async def test_whatever_somebody_writes_the_pods_of_others_are_looked_after(world, monkeypatch, caplog, text):
    def read(text):
        return 1 / 0 if text == "stumbles" else read_policy(text)

    monkeypatch.setattr("kube_gateway.ai.policy.read.read_policy", read)
    put(world, config_map(GOOD, name="other-kube-gateway"), config_map(GOOD))
    world.api.put("pods", pod_body(ai="true"))
    world.api.put("pods", pod_body("other", address="10.0.0.3", ai="true"))
    watch(world)
    await rest(world)
    put(world, config_map(text))
    await rest(world)
    assert (gateway(world).policy.text, condition(world)) == (GOOD, ("True", "InvalidPolicy"))
    assert ("Traceback" in caplog.text) is (text == "stumbles")
    put(world, config_map(OTHER, name="other-kube-gateway"))
    await rest(world)
    assert gateway(world, "other").policy.text == OTHER


async def test_another_watcher_changes_nothing_while_the_policy_is_not_right_and_tells_nothing_twice(world):
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    put(world, config_map(BAD))
    await rest(world)
    told = events(world)
    world._replace_watchers(1)
    await rest(world)
    assert gateway(world).policy.text == GOOD
    assert events(world) == told


async def test_a_policy_that_only_the_gateway_does_not_understand_is_told(world):
    world.gateways_refuse = OTHER
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    put(world, config_map(OTHER))
    await rest(world)
    assert condition(world) == ("True", "PolicyRefused")
    assert "PolicyRefused" in events(world)
    assert gateway(world).policy.text == GOOD


async def test_a_config_map_without_the_key_is_told(world):
    put(world, config_map(GOOD, key="policy.yaml"))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    assert condition(world) == ("False", "InvalidPolicy")
    assert "the ConfigMap web-kube-gateway has no key `config`" in message(world)


async def test_pods_that_name_a_config_map_share_its_watch(world):
    put(world, config_map(GOOD, name="rules"))
    for number in range(3):
        world.api.put("pods", pod_body(f"pod-{number}", address=f"10.0.0.{number + 2}", ai="true", ai_config="rules"))
    watch(world)
    await rest(world)
    assert {one.policy.text for one in world.gateways.values()} == {GOOD}
    assert asked(world) == {("shop", "metadata.name=rules")}
    lists = [one for one in world.api.read if one[0] == "configmaps"]
    assert len(lists) == 2  # a list and a watch
    put(world, config_map(OTHER, name="rules"))
    await rest(world)
    assert {one.policy.text for one in world.gateways.values()} == {OTHER}


async def test_another_config_map_is_a_change_like_an_edit(world):
    put(world, config_map(GOOD), config_map(OTHER, name="rules"))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    annotate(world, ai="true", ai_config="rules")
    await rest(world)
    assert gateway(world).policy.text == OTHER


async def test_without_ai_control_the_condition_says_so_and_the_watch_ends(world):
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true", encrypt="true"))
    watcher = watch(world)
    await rest(world)
    annotate(world, encrypt="true")
    await rest(world)
    assert condition(world) == ("False", "Off")
    assert watcher.cluster._policies._followed == {}
    annotate(world, encrypt="true", ai="true")
    await rest(world)
    assert condition(world) == ("True", "PolicyInForce")


async def test_what_a_gateway_has_counted_goes_on_with_the_next_one(world):
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    first = gateway(world)
    first.counted = (BudgetCount(rule="day", window=86400, used=7),)
    first._say("ready")
    world._step_kill_gateway() if hasattr(world, "_step_kill_gateway") else None
    memory = world.watchers[0].cluster.memory("shop/web")
    assert memory.budgets == first.counted
    memory.line(2)
    assert memory.budgets == first.counted


async def test_config_maps_that_may_not_be_read_are_a_problem_and_the_watcher_goes_on(world, monkeypatch):
    monkeypatch.setattr(policies_module, "KNOWN_WITHIN", 0.1)
    world.api.forbidden.add("configmaps")
    world.api.put("pods", pod_body(ai="true", encrypt="true"))
    watch(world)
    await rest(world)
    async with asyncio.timeout(3):
        while "InvalidPolicy" not in events(world):
            await rest(world)
    assert "could not be read" in message(world)
    assert gateway(world).policy.text == ""
    world.api.forbidden.clear()
    monkeypatch.setattr(policies_module, "_PAUSES", (0.01, 0.05))
    put(world, config_map(GOOD))
    async with asyncio.timeout(8):
        while condition(world) != ("True", "PolicyInForce"):
            await rest(world, seconds=8)


async def test_there_is_an_end_to_the_number_of_watches(world, monkeypatch):
    monkeypatch.setattr(policies_module, "MOST_FOLLOWED", 2)
    for number in range(3):
        world.api.put("pods", pod_body(f"pod-{number}", address=f"10.0.0.{number + 2}", ai="true"))
    watch(world)
    await rest(world)
    reasons = sorted(condition(world, f"pod-{number}")[1] for number in range(3))
    assert reasons == ["InvalidPolicy", "NoPolicy", "NoPolicy"]


@pytest.mark.parametrize("model", ["gemma2:2b"])
async def test_the_condition_says_which_model_all_calls_go_to(world, model):
    put(world, config_map(GOOD))
    world.api.put("pods", pod_body(ai="true"))
    watch(world)
    await rest(world)
    annotate(world, ai="true", ai_model=model)
    await rest(world)
    assert message(world).endswith(f"applies to LLM calls; all go to the model {model}")
    assert events(world)[-1] == "PolicyApplied"
