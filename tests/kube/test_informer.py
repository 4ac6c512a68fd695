"""The copy stays equal to what the server has, whatever happens to the stream."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time

import msgspec
import pytest

from kube_gateway.kube.client import Metadata
from kube_gateway.kube.informer import Informer, key_of

PODS = "/api/v1/pods"


class Thing(msgspec.Struct, frozen=True):
    metadata: Metadata = Metadata()


class Followed:
    def __init__(self, client, **options):
        self.changes = []
        options = {"on_change": self.note, "pauses": (0.01, 0.1), "idle": 5.0, **options}
        self.informer = Informer(client, PODS, Thing, **options)

    def note(self, key, item):
        self.changes.append((key, item and item.metadata.resource_version))

    def names(self):
        return sorted(self.informer.store)


@pytest.fixture
async def following(client):
    async with contextlib.AsyncExitStack() as stack:

        async def start(*, wait=True, **options):
            followed = Followed(client, **options)
            task = asyncio.create_task(followed.informer.run())

            async def stop():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

            stack.push_async_callback(stop)
            if wait:
                async with asyncio.timeout(3):
                    await followed.informer.synced.wait()
            return followed

        yield start


def test_keys():
    assert key_of(Thing(Metadata(name="a", namespace="shop"))) == "shop/a"
    assert key_of(Thing(Metadata(name="node-1"))) == "node-1"


async def test_list_then_watch(cluster, following, until):
    await cluster.put("a")
    followed = await following()
    assert followed.changes == [("shop/a", "101")]
    assert time.monotonic() - followed.informer.fresh_at < 1
    await cluster.put("b")
    await cluster.put("a")
    await cluster.delete("b")
    await until(lambda: len(followed.changes) == 4)
    assert followed.changes[1:] == [("shop/b", "102"), ("shop/a", "103"), ("shop/b", None)]
    assert followed.names() == ["shop/a"]
    assert (cluster.lists, cluster.watches) == (1, [101])


async def test_an_empty_list_is_null(following):
    followed = await following()
    assert followed.informer.store == {}


async def test_objects_that_stay_are_kept_from_the_cyclic_collector(following):
    gc.unfreeze()
    try:
        await following()
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


async def test_a_broken_stream_is_resumed_where_it_ended(cluster, following, until, caplog):
    followed = await following()
    await cluster.put("a")
    await until(lambda: followed.changes)
    await cluster.cut()
    await cluster.put("b")
    await until(lambda: len(followed.changes) == 2)
    assert cluster.lists == 1
    assert cluster.watches == [100, 101]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_bookmark_moves_the_version(cluster, following, until):
    followed = await following()
    await cluster.bookmark()
    await until(lambda: followed.informer._version == "101")
    await cluster.cut()
    await until(lambda: len(cluster.watches) == 2)
    assert cluster.watches == [100, 101]
    assert followed.changes == []


@pytest.mark.parametrize("by_event", [True, False])
async def test_a_version_too_old_leads_to_a_new_list(cluster, following, until, by_event):
    await cluster.put("a")
    await cluster.put("b")
    followed = await following()
    await cluster.delete("a", told=False)
    if by_event:
        await cluster.compact()
    else:
        cluster.history.clear()
        cluster.oldest = cluster.version
        await cluster.cut()
    await until(lambda: ("shop/a", None) in followed.changes)
    # The delete was found by comparing; b has not changed and is not mentioned again.
    assert followed.changes == [("shop/a", "101"), ("shop/b", "102"), ("shop/a", None)]
    assert followed.names() == ["shop/b"]
    assert cluster.lists == 2


async def test_a_silent_stream_is_resumed(cluster, following, until):
    cluster.mute = True
    await following(idle=0.05)
    await until(lambda: len(cluster.watches) >= 3)
    assert cluster.lists == 1


async def test_repeated_events_are_not_reported(cluster, following, until):
    followed = await following()
    await cluster.put("a")
    await until(lambda: followed.changes)
    cluster.version += 1
    await cluster._tell("MODIFIED", cluster.objects["a"])
    await cluster.put("b")
    await until(lambda: len(followed.changes) == 2)
    assert followed.changes == [("shop/a", "101"), ("shop/b", "103")]


async def test_an_outage_is_told_once(cluster, following, until, caplog):
    caplog.set_level(logging.INFO, "watcher")
    cluster.refusal = (503, "Unavailable", "etcd is away")
    followed = await following(wait=False)
    await until(lambda: len(cluster.requests) >= 4)
    assert not followed.informer.synced.is_set()
    cluster.refusal = None
    await until(lambda: cluster.watches)
    await until(lambda: "is back" in caplog.text)
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["pods: list /api/v1/pods: etcd is away (503 Unavailable), trying again"]
    assert caplog.text.count("is back") == 1


async def test_it_backs_off(cluster, following):
    cluster.refusal = (503, "Unavailable")
    await following(wait=False, pauses=(0.05, 10.0))
    await asyncio.sleep(0.7)
    assert 2 <= len(cluster.requests) <= 6


async def test_forbidden_is_an_error_with_the_rule(cluster, following, until, caplog):
    cluster.refusal = (403, "Forbidden", "pods is forbidden")
    await following(wait=False, pauses=(0.01, 0.3))
    await until(lambda: caplog.records)
    await asyncio.sleep(0.1)
    assert len(cluster.requests) == 1
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert '{"apiGroups":[""],"resources":["pods"],"verbs":["get","list","watch"]}' in record.message


async def test_what_the_callback_raises_is_let_through(cluster, client):
    await cluster.put("a")

    def fail(key, _):
        raise RuntimeError(key)

    async with asyncio.timeout(3):
        with pytest.raises(RuntimeError, match="shop/a"):
            await Followed(client, on_change=fail).informer.run()


async def test_the_copy_follows_through_everything(cluster, following, until):
    followed = await following()
    for number in range(60):
        name = f"p{number % 7}"
        if name in cluster.objects and number % 3 == 0:
            await cluster.delete(name, told=number % 2 == 0)
        else:
            await cluster.put(name)
        if number % 10 == 4:
            await cluster.cut()
        if number % 10 == 8:
            await cluster.compact()
        await asyncio.sleep(0.005)
    await cluster.compact()
    wanted = {f"shop/{name}": body["metadata"]["resourceVersion"] for name, body in cluster.objects.items()}

    def equal():
        return {key: item.metadata.resource_version for key, item in followed.informer.store.items()} == wanted

    await until(equal)
    told = {}
    for key, version in followed.changes:
        assert told.get(key) != version
        told[key] = version
    assert {key: version for key, version in told.items() if version} == wanted
