"""Which image gateways run, with what privilege, and how another takes over."""

from __future__ import annotations

import asyncio
import datetime
import time

import pytest

from kube_gateway.watcher import cluster as cluster_module
from kube_gateway.watcher.acting import NotReady
from watcher.made import IMAGE, ended, pod_body, running, waiting, with_gateways
from watcher.simulated import Gateway
from watcher.steps import condition, gateways, rest, watch

NEWER = "registry/kube-gateway:2"


async def test_another_image_takes_over_pod_by_pod(world):
    names = [f"p{number}" for number in range(12)]
    for number, name in enumerate(names):
        world.api.put("pods", pod_body(name, address=f"10.0.1.{number}", encrypt="true"))
    watch(world)
    await rest(world)
    world._replace_watchers(0)
    world.image = NEWER
    world._replace_watchers(1)
    await asyncio.sleep(0.05)
    for key in list(world.api.objects["pods"]):
        for _ in range(3):
            world.advance(key)  # they connect to the new watcher; its gateways do not start yet
    await asyncio.sleep(0.3)
    begun = [name for name in names if len(gateways(world, name)) == 2]
    assert len(begun) <= cluster_module.UPGRADES_AT_ONCE
    await rest(world, seconds=10)
    for name in names:
        assert gateways(world, name) == ["kube-gateway", "kube-gateway-2"]
        assert condition(world, name) == ("True", "Encrypting")
    assert len(world.gateways) == len(names)


async def test_an_image_that_does_not_start_takes_no_more_than_five_down_and_none_that_serves(world):
    names = [f"p{number}" for number in range(8)]
    for number, name in enumerate(names):
        body = with_gateways(pod_body(name, address=f"10.0.1.{number}", encrypt="true"), running())
        world.api.put("pods", body)
    watcher = watch(world, image=NEWER)
    await watcher.cluster.pods_known()
    lines = []
    for name in names:
        uid = world.api.objects["pods"][f"shop/{name}"]["metadata"]["uid"]
        lines.append(Gateway(world, f"shop/{name}", uid, 1, None))
        lines[-1].connect(watcher)
    await asyncio.sleep(0.3)
    begun = [name for name in names if len(gateways(world, name)) > 1]
    assert len(begun) == cluster_module.UPGRADES_AT_ONCE
    for name in begun:
        world._set(f"shop/{name}", "kube-gateway-2", waiting("ErrImagePull", "no such image"))
    await asyncio.sleep(0.2)
    assert [name for name in names if len(gateways(world, name)) > 1] == begun
    assert all(len(gateways(world, name)) == 2 for name in begun)
    assert condition(world, begun[0]) == ("True", "Encrypting")


async def test_a_watcher_that_does_not_know_its_image_or_address_waits(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watcher = watch(world, image="", control="")
    await asyncio.sleep(0.2)
    watcher.check()
    assert gateways(world) == []
    seen, observation = watcher.cluster.pod("shop/web"), watcher.cluster.observe("shop/web")
    with pytest.raises(NotReady, match="the image of the watcher's own pod is not known yet"):
        watcher.reconciler._actor._how(seen, 1, None)
    own = pod_body("watcher-1", namespace="kube-gateway")
    own["spec"]["containers"][0]["image"] = IMAGE
    world.api.put("pods", own)
    await asyncio.sleep(0.1)
    with pytest.raises(NotReady, match="the address of the watcher's Service is not known yet"):
        watcher.reconciler._actor._how(seen, 1, None)
    spec = {"clusterIP": "fd00::9", "clusterIPs": ["fd00::9", "10.96.0.9"], "ports": [{"port": 18444}]}
    world.api.put("services", {"metadata": {"name": "kube-gateway-watcher", "namespace": "kube-gateway"}, "spec": spec})
    await rest(world)
    assert observation.pod.addresses == ("10.0.0.2",)
    (container,) = world.api.objects["pods"]["shop/web"]["spec"]["ephemeralContainers"]
    assert container["image"] == IMAGE
    assert {"name": "KUBE_GATEWAY_CONTROL", "value": "tls:10.96.0.9:18444"} in container["env"]


async def test_privilege_is_given_where_a_node_needs_it(world):
    world.api.put("pods", with_gateways(pod_body("a", address="10.0.0.3", encrypt="true"), ended(77)))
    world.api.put("pods", pod_body("b", address="10.0.0.4", encrypt="true"))
    elsewhere = pod_body("c", address="10.0.0.5", encrypt="true")
    elsewhere["spec"]["nodeName"] = "node-2"
    world.api.put("pods", elsewhere)
    watch(world, privileged="when-needed")
    await rest(world)
    given = {}
    for name in "abc":
        container = world.api.objects["pods"][f"shop/{name}"]["spec"]["ephemeralContainers"][-1]
        given[name] = container["securityContext"].get("privileged", False)
    assert given == {"a": True, "b": True, "c": False}


async def test_a_certificate_that_waits_for_its_gateways_image_is_replaced_before_it_is_old(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world, certificate_life=datetime.timedelta(seconds=0.5))

    def written():
        return [path for verb, path in world.api.writes if path.endswith("/secrets/kube-gateway-web")]

    async with asyncio.timeout(5):
        while not gateways(world):
            await asyncio.sleep(0.01)
        world._set("shop/web", "kube-gateway", waiting("ContainerCreating"))
        while len(written()) < 4:
            await asyncio.sleep(0.01)
    # Once it runs, its own is renewed over its line.
    world._set("shop/web", "kube-gateway", running(time.time()))
    await asyncio.sleep(0.1)
    before = len(written())
    await asyncio.sleep(0.6)
    assert len(written()) == before
