"""Pod by pod: what is written, told, and left alone. The watcher is the product's, the cluster is simulated."""

from __future__ import annotations

import asyncio
import collections

from kube_gateway.watcher.memory import RETRY_REFUSED
from watcher.made import IMAGE, TYPE, ended, pod_body, running, with_condition, with_gateways
from watcher.steps import annotate, condition, events, gateways, rest, watch


async def test_a_pods_way_from_annotation_to_encryption_and_back(world):
    world.api.put("pods", pod_body())
    watch(world)
    await rest(world)
    assert world.api.writes == []
    annotate(world, encrypt="true")
    await rest(world)
    assert condition(world) == ("True", "Encrypting")
    assert events(world) == ["GatewayAdded", "Encrypting"]
    assert world.api.events[0]["note"] == (
        f"Added kube-gateway ({IMAGE}) with a certificate for spiffe://cluster.local/ns/shop/sa/web"
    )
    kinds = collections.Counter(path.rsplit("/", 1)[1] for _, path in world.api.writes)
    assert kinds == {"kube-gateway-web": 1, "ephemeralcontainers": 1, "status": 3, "events": 2}
    annotate(world, encrypt="strict")
    await rest(world)
    assert gateways(world) == ["kube-gateway"]
    annotate(world)
    await rest(world)
    assert condition(world) == ("False", "NotEnrolled")
    assert world.api.objects["secrets"] == {}
    assert events(world) == ["GatewayAdded", "Encrypting", "Left"]
    annotate(world, encrypt="true")
    await rest(world)
    assert gateways(world) == ["kube-gateway", "kube-gateway-2"]
    assert condition(world) == ("True", "Encrypting")


async def test_the_time_of_a_condition_is_that_of_its_last_change_of_status(world):
    body = with_condition(with_gateways(pod_body(encrypt="true"), running()), "False", "GatewayStarting", "x")
    world.api.put("pods", body)
    watcher = watch(world)
    await watcher.cluster.pods_known()
    world._set("shop/web", "kube-gateway", ended(1))
    async with asyncio.timeout(3):
        while condition(world)[1] != "GatewayDied":
            await asyncio.sleep(0.01)
    (found,) = [one for one in world.api.objects["pods"]["shop/web"]["status"]["conditions"] if one["type"] == TYPE]
    assert found["lastTransitionTime"] == "1970-01-01T00:00:05Z"
    assert [one["type"] for one in world.api.objects["pods"]["shop/web"]["status"]["conditions"]] == ["Ready", TYPE]


async def test_a_pod_that_the_admission_refuses_is_told_once_and_tried_when_its_namespace_changes(world):
    level = {"pod-security.kubernetes.io/enforce": "baseline"}
    world.api.change("namespaces", "shop", lambda body: body["metadata"].update(labels=level))
    world.api.put("pods", pod_body(encrypt="true"))
    watcher = watch(world)
    await rest(world)
    assert condition(world) == ("False", "ProblemPodSecurity")
    assert events(world) == ["PodSecurity"]
    assert world.api.events[0]["type"] == "Warning"
    assert "to mend it: kubectl label namespace shop" in world.api.events[0]["note"]
    written = len(world.api.writes)
    for _ in range(20):
        watcher.queue.add("shop/web")
        await asyncio.sleep(0.005)
    assert len(world.api.writes) == written
    assert await watcher.reconciler.look("shop/web") == RETRY_REFUSED
    world.api.change("namespaces", "shop", lambda body: body["metadata"].update(labels={}))
    await rest(world)
    assert condition(world) == ("True", "Encrypting")
    assert events(world) == ["PodSecurity", "GatewayAdded", "Encrypting"]


async def test_a_refused_pod_is_tried_again_by_a_new_watcher_and_told_nothing_new(world):
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    world.api.change("namespaces", "shop", lambda body: body["metadata"].update(labels=level))
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world)
    await rest(world)
    world._replace_watchers(1)
    await rest(world)
    assert events(world) == ["PodSecurity"]
    annotate(world)
    await rest(world)
    assert world.api.objects["secrets"] == {}
    assert condition(world) == ("False", "NotEnrolled")


async def test_hooks_that_a_refused_gateway_cannot_remove_are_told_once(world):
    level = {"pod-security.kubernetes.io/enforce": "baseline"}
    world.api.change("namespaces", "shop", lambda body: body["metadata"].update(labels=level))
    world.api.put("pods", with_condition(with_gateways(pod_body(), ended(137)), "False", "Leaving"))
    watcher = watch(world)
    await rest(world)
    tries = collections.Counter(path.rsplit("/", 1)[1] for _, path in world.api.writes)
    assert tries["ephemeralcontainers"] == 1
    assert events(world) == ["PodSecurity"]
    assert condition(world) == ("False", "ProblemPodSecurity")
    looks = watcher.looks.total()
    await asyncio.sleep(0.3)
    assert watcher.looks.total() - looks <= 2


async def test_host_network(world):
    body = pod_body(encrypt="true")
    body["spec"]["hostNetwork"] = True
    world.api.put("pods", body)
    watch(world)
    await rest(world)
    assert condition(world) == ("False", "ProblemHostNetwork")
    assert events(world) == ["HostNetwork"]
    assert gateways(world) == []
    assert world.api.objects["secrets"] == {}
    annotate(world)
    await rest(world)
    assert condition(world) == ("False", "NotEnrolled")


async def test_an_annotation_that_is_wrong_and_then_mended(world):
    world.api.put("pods", pod_body(encrypt="oops"))
    watch(world)
    await rest(world)
    assert condition(world) == ("False", "ProblemInvalidAnnotation")
    assert events(world) == ["InvalidAnnotation"]
    annotate(world, encrypt="true")
    await rest(world)
    assert condition(world) == ("True", "Encrypting")
    annotate(world, encrypt="perhaps")
    await rest(world)
    assert condition(world) == ("True", "ProblemInvalidAnnotation")
    assert events(world) == ["InvalidAnnotation", "GatewayAdded", "Encrypting", "InvalidAnnotation"]
    world._replace_watchers(1)
    await rest(world)
    assert condition(world) == ("True", "ProblemInvalidAnnotation")
    assert gateways(world) == ["kube-gateway"]
    annotate(world, encrypt="strict")
    await rest(world)
    assert condition(world) == ("True", "Encrypting")


async def test_an_annotation_of_the_namespace(world):
    world.api.put("pods", pod_body())
    watch(world)
    await rest(world)
    asked = {"kube-gateway.io/encrypt": "strict"}
    world.api.change("namespaces", "shop", lambda body: body["metadata"].update(annotations=asked))
    await rest(world)
    assert condition(world) == ("True", "Encrypting")
    annotate(world, enabled="false")
    await rest(world)
    assert condition(world) == ("False", "NotEnrolled")


async def test_a_default_of_the_watcher_alone_is_no_reason_to_write(world):
    world.api.put("pods", pod_body())
    watch(world, capture_cidrs="10.0.0.0/8")
    await rest(world)
    assert world.api.writes == []


async def test_pods_of_the_watchers_own_namespace_are_left_alone(world):
    world.api.put("pods", pod_body("watcher-1", namespace="kube-gateway", encrypt="true"))
    watcher = watch(world)
    await rest(world)
    assert world.api.writes == []
    assert watcher.cluster.observe("kube-gateway/watcher-1") is None


async def test_pods_that_are_none_of_our_business_are_not_looked_at_again(world):
    world.api.put("pods", pod_body())
    world.api.put("pods", pod_body("done", phase="Succeeded", encrypt="true"))
    ending = pod_body("ending", encrypt="true")
    ending["metadata"]["deletionTimestamp"] = "2026-11-25T17:49:17Z"
    world.api.put("pods", ending)
    watcher = watch(world)
    await rest(world)
    assert world.api.writes == []
    for name in ("web", "done", "ending", "gone"):
        assert await watcher.reconciler.look(f"shop/{name}") is None
