"""What goes wrong just when something else is under way, one case each."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time

import pytest

from kube_gateway.errors import IdentityError
from kube_gateway.identity.issuer import RootIssuer
from kube_gateway.watcher.memory import RETRY_REFUSED
from kube_gateway.watcher.reconcile import Reconciler
from watcher.made import ended, pod_body, with_condition, with_gateways
from watcher.steps import condition, events, gateways, rest, watch


async def test_hooks_of_a_gateway_that_died_are_removed_by_another(world):
    world.api.put("pods", with_condition(with_gateways(pod_body(), ended(137)), "False", "Leaving"))
    watch(world)
    await rest(world)
    assert gateways(world) == ["kube-gateway", "kube-gateway-2"]
    assert condition(world) == ("False", "NotEnrolled")
    assert world.api.objects["secrets"] == {}
    await asyncio.sleep(0.3)
    assert gateways(world) == ["kube-gateway", "kube-gateway-2"]


async def test_a_problem_is_told_once_even_if_it_cannot_be_written_down(world):
    world.api.put("pods", pod_body(encrypt="oops"))
    world.api.faults = [None, *[503] * 12]
    watch(world)
    async with asyncio.timeout(5):
        while world.api.faults:
            await asyncio.sleep(0.01)
    await rest(world)
    assert events(world) == ["InvalidAnnotation"]
    assert condition(world) == ("False", "ProblemInvalidAnnotation")


async def test_nothing_is_written_twice_before_it_is_seen(world):
    """The watch is late: looks in between see the pod as it was."""
    world.api.put("pods", pod_body(encrypt="oops"))
    world.api.faults = [503] * 1000
    watcher = watch(world)
    await asyncio.sleep(0.1)
    world.api.reading_fails = True
    world.api.cut()
    await asyncio.sleep(0.05)
    world.api.faults = []
    await asyncio.sleep(0.2)
    for _ in range(10):
        watcher.queue.add("shop/web")
        await asyncio.sleep(0.01)
    assert condition(world) == ("False", "ProblemInvalidAnnotation")
    assert [path.rsplit("/", 1)[1] for _, path in world.api.done] == ["status"]


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
    with pytest.raises(KeyError):
        watcher.cluster.memory("shop/web")
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
    # Pauses of 10, 20, 40 ms and then 60 each, and what else it takes.
    assert 4 <= len(gateways(world)) <= 15
    assert "GatewayDied" in events(world)


async def test_a_gateway_that_died_is_replaced_and_its_end_told(world):
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world)
    await rest(world)
    world._end_one("shop/web", 137)
    await rest(world)
    assert gateways(world) == ["kube-gateway", "kube-gateway-2"]
    assert condition(world) == ("True", "Encrypting")
    assert events(world) == ["GatewayAdded", "Encrypting", "GatewayDied", "GatewayAdded", "Encrypting"]


async def test_a_root_that_expired_is_told_and_not_tried_again_at_once(world, monkeypatch, caplog):
    def expired(*_, **__):
        raise IdentityError("the root certificate of cluster.local expired on 2020-01-01")

    monkeypatch.setattr(RootIssuer, "sign", expired)
    world.api.put("pods", pod_body(encrypt="true"))
    watcher = watch(world)
    await asyncio.sleep(0.2)
    assert caplog.text.count("no certificate: the root certificate") <= 2
    assert await watcher.reconciler.look("shop/web") == RETRY_REFUSED


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


async def test_a_gateway_is_not_added_twice_before_it_is_seen(world):
    world.api.put("pods", pod_body(encrypt="true"))
    world.api.faults = [503] * 1000
    watcher = watch(world)
    await asyncio.sleep(0.1)
    world.api.reading_fails = True
    world.api.cut()
    world.api.faults = []
    await asyncio.sleep(0.2)
    for _ in range(10):
        watcher.queue.add("shop/web")
        await asyncio.sleep(0.01)
    kinds = collections.Counter(path.rsplit("/", 1)[1] for _, path in world.api.done)
    assert (kinds["ephemeralcontainers"], kinds["kube-gateway-web"]) == (1, 1)
    assert watcher.cluster.observe("shop/web").gateway.state == "starting"


async def test_a_pod_that_was_replaced_while_nobody_looked(world):
    """Its removal is never told: the list that is read afterwards has another pod of that name."""
    world.api.put("pods", pod_body(encrypt="true"))
    watch(world)
    await rest(world)
    world.api.reading_fails = True
    world.api.compact()
    await asyncio.sleep(0.05)
    world.api.remove("pods", "shop/web")
    world.api.put("pods", pod_body(encrypt="true"))
    world.api.compact()
    world.api.reading_fails = False
    await rest(world)
    assert gateways(world) == ["kube-gateway"]
    assert condition(world) == ("True", "Encrypting")


async def test_a_namespace_that_changes_while_it_refuses(world):
    """The refusal comes after the change that lifts it, and must not stand for minutes."""
    level = {"pod-security.kubernetes.io/enforce": "baseline"}
    world.api.change("namespaces", "shop", lambda body: body["metadata"].update(labels=level))
    world.api.put("pods", pod_body(encrypt="true"))
    handle = world.api._one

    async def lift_first(request, match):
        answer = await handle(request, match)
        if answer.status_code == 403:
            world.api.change("namespaces", "shop", lambda body: body["metadata"].update(labels={}))
            await asyncio.sleep(0.05)
        return answer

    world.api._one = lift_first
    watch(world)
    await rest(world)
    assert condition(world) == ("True", "Encrypting")
    assert "PodSecurity" not in events(world)
