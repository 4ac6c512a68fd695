"""Pod by pod: what is written, told, and left alone. The watcher is the product's, the cluster is simulated."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time

import pytest

from kube_gateway.errors import IdentityError
from kube_gateway.identity.issuer import Issuer
from kube_gateway.watcher import cluster as cluster_module
from kube_gateway.watcher.acting import NotReady
from kube_gateway.watcher.memory import RETRY_REFUSED
from kube_gateway.watcher.reconcile import Reconciler
from watcher.cluster_world import Gateway, SimulatedWatcher, World, hurry
from watcher.made import IMAGE, TYPE, ended, pod_body, running, waiting, with_condition, with_gateways

NEWER = "registry/kube-gateway:2"


@pytest.fixture
async def world(monkeypatch):
    hurry(monkeypatch)
    made = World(1)
    yield made
    await made.end()


def watch(world, **options):
    watcher = SimulatedWatcher(world.api, **options)
    world.watchers.append(watcher)
    return watcher


async def rest(world, *, seconds=5.0):
    """Let kubelet and gateways do what they do until it is quiet."""
    async with asyncio.timeout(seconds):
        quiet = 0
        while quiet < 5:
            written = len(world.api.writes)
            moved = [key for key in list(world.api.objects["pods"]) if world.advance(key)]
            await asyncio.sleep(0.02)
            quiet = 0 if moved or len(world.api.writes) > written else quiet + 1
    for watcher in world.watchers:
        watcher.check()


def condition(world, name="web"):
    found = [
        one for one in world.api.objects["pods"][f"shop/{name}"]["status"].get("conditions", ()) if one["type"] == TYPE
    ]
    return (found[0]["status"], found[0]["reason"]) if found else None


def events(world):
    return [event["reason"] for event in world.api.events]


def annotate(world, name="web", **annotations):
    ours = pod_body(**annotations)["metadata"]["annotations"]
    world.api.change("pods", f"shop/{name}", lambda body: body["metadata"].update(annotations=ours))


def gateways(world, name="web"):
    return [one["name"] for one in world.api.objects["pods"][f"shop/{name}"]["spec"].get("ephemeralContainers", ())]


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


async def test_hooks_of_a_gateway_that_died_are_removed_by_another(world):
    world.api.put("pods", with_condition(with_gateways(pod_body(), ended(137)), "False", "Leaving"))
    watch(world)
    await rest(world)
    assert gateways(world) == ["kube-gateway", "kube-gateway-2"]
    assert condition(world) == ("False", "NotEnrolled")
    assert world.api.objects["secrets"] == {}
    await asyncio.sleep(0.3)
    assert gateways(world) == ["kube-gateway", "kube-gateway-2"]


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


async def test_a_problem_is_told_once_even_if_it_cannot_be_written_down(world):
    world.api.put("pods", pod_body(encrypt="oops"))
    world.api.faults = [None, *[503] * 12]
    watch(world)
    await asyncio.sleep(0.5)
    await rest(world)
    assert events(world) == ["InvalidAnnotation"]
    assert condition(world) == ("False", "ProblemInvalidAnnotation")


async def test_nothing_is_written_twice_before_it_is_seen(world):
    """The watch is late: looks in between see the pod as it was."""
    world.api.put("pods", pod_body(encrypt="oops"))
    watcher = watch(world)
    await watcher.cluster.pods_known()
    world.api.reading_fails = True
    world.api.cut()
    for _ in range(10):
        watcher.queue.add("shop/web")
        await asyncio.sleep(0.01)
    kinds = collections.Counter(path.rsplit("/", 1)[1] for _, path in world.api.writes)
    assert kinds == {"status": 1, "events": 1}


@pytest.mark.parametrize("kind", ["start", "claim"])
async def test_a_pod_that_is_replaced_while_an_answer_is_waited_for(world, kind):
    """The new pod of that name must not get the memory of the old one."""
    world.api.put("pods", pod_body(encrypt="true" if kind == "start" else "oops"))
    watcher = watch(world)
    handle = world.api._one
    changed = []

    async def replace_first(request, match):
        answer = await handle(request, match)
        if not changed and match["part"] == ("ephemeralcontainers" if kind == "start" else "status"):
            changed.append(True)
            world.api.remove("pods", "shop/web")
            world.api.put("pods", pod_body(encrypt="true"))
            await asyncio.sleep(0.05)  # until it has been seen
        return answer

    world.api._one = replace_first
    await rest(world)
    assert changed
    assert condition(world) == ("True", "Encrypting")
    assert gateways(world) == ["kube-gateway"]
    watcher.check()


async def test_a_pod_that_goes_while_an_answer_is_waited_for(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watcher = watch(world)
    handle = world.api._one

    async def remove_first(request, match):
        if match["part"] == "ephemeralcontainers" and "shop/web" in world.api.objects["pods"]:
            world.api.remove("pods", "shop/web")
            await asyncio.sleep(0.05)
        return await handle(request, match)

    world.api._one = remove_first
    await rest(world)
    assert watcher.cluster.memories() == ()
    await asyncio.sleep(0.1)
    watcher.check()


async def test_a_patch_for_a_pod_that_had_the_name_is_refused_and_changes_nothing(world):
    world.api.put("pods", pod_body(encrypt="true"))
    world.api.faults = [503] * 1000
    watch(world)
    await asyncio.sleep(0.1)
    world.api.reading_fails = True
    world.api.cut()
    await asyncio.sleep(0.05)
    world.api.remove("pods", "shop/web")
    world.api.put("pods", pod_body(encrypt="true"))
    world.api.faults = []
    before = len(world.api.writes)
    await asyncio.sleep(0.3)
    assert len(world.api.writes) > before
    assert gateways(world) == []
    assert condition(world) is None
    world.api.reading_fails = False
    await rest(world)
    assert gateways(world) == ["kube-gateway"]
    assert condition(world) == ("True", "Encrypting")


async def test_an_answer_that_was_lost_adds_no_second_gateway(world):
    world.api.put("pods", pod_body(encrypt="true"))
    world.api.faults = [None, None, "lost"]
    watch(world)
    await rest(world)
    assert gateways(world) == ["kube-gateway"]
    assert world.wrong == []
    assert condition(world) == ("True", "Encrypting")


async def test_a_secret_that_somebody_removed_before_the_gateway_could_start_is_made_again(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world)
    async with asyncio.timeout(3):
        while not gateways(world):
            await asyncio.sleep(0.001)
    world.api.objects["secrets"].clear()
    await rest(world)
    assert condition(world) == ("True", "Encrypting")


async def test_a_gateway_that_ends_at_once_is_not_added_again_and_again(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world)
    end = asyncio.get_running_loop().time() + 0.7
    while asyncio.get_running_loop().time() < end:
        for name in gateways(world):
            statuses = world.api.objects["pods"]["shop/web"]["status"].get("ephemeralContainerStatuses", ())
            if name not in {one["name"] for one in statuses}:
                world._set("shop/web", name, ended(0, ran=0.0, at_time=time.time()))
        await asyncio.sleep(0.005)
    # Pauses of 10, 20, 40, 80 ms and then 100 each.
    assert 4 <= len(gateways(world)) <= 11
    assert condition(world) == ("False", "GatewayDied")


async def test_a_gateway_that_died_is_replaced_and_its_end_told(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world)
    await rest(world)
    world._end_one("shop/web", 137)
    await rest(world)
    assert gateways(world) == ["kube-gateway", "kube-gateway-2"]
    assert condition(world) == ("True", "Encrypting")
    assert events(world) == ["GatewayAdded", "Encrypting", "GatewayDied", "GatewayAdded", "Encrypting"]


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


async def test_a_root_that_expired_is_told_and_not_tried_again_at_once(world, monkeypatch, caplog):
    def expired(*_, **__):
        raise IdentityError("the root certificate of cluster.local expired on 2020-01-01")

    monkeypatch.setattr(Issuer, "sign", expired)
    world.api.put("pods", pod_body(encrypt="true"))
    watcher = watch(world)
    await asyncio.sleep(0.2)
    assert caplog.text.count("no certificate: the root certificate") <= 2
    assert await watcher.reconciler.look("shop/web") == RETRY_REFUSED


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


async def test_what_is_not_the_apis_is_let_through(world, monkeypatch):
    """A mistake of ours ends the watcher, which is started again, rather than to be hidden."""

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(Reconciler, "_next_look", broken)
    world.api.put("pods", pod_body(encrypt="true"))
    watcher = watch(world)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await asyncio.wait((watcher._task,))
    with pytest.raises(ExceptionGroup):
        watcher.check()
    world.watchers.clear()
