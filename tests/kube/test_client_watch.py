"""What the client makes of a watch, however it is cut, and whatever ends it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest
from aiohttp import web

from kube.client_parts import PODS, Thing, a_line, a_thing, all_of
from kube_gateway.kube.refusals import Gone, KubernetesError, Unreachable


def streaming(*chunks, then=None):
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
            await asyncio.sleep(0.01)
        if then:
            await then(request)
        return response

    return handler


async def test_a_watch_asks_for_bookmarks_and_an_end(serve):
    seen = []

    async def handler(request):
        seen.append(dict(request.query))
        return web.Response()

    client = await serve(handler)
    events = client.watch(PODS, Thing, resource_version="7", timeout=120, parameters={"labelSelector": "a"})
    assert await all_of(events) == []
    assert seen == [
        {
            "labelSelector": "a",
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": "7",
            "timeoutSeconds": "120",
        }
    ]


async def test_events_however_they_are_cut_into_chunks(serve):
    # U+2028 ends a line for str.splitlines, and may be in JSON as it is.
    big = a_line("MODIFIED", a_thing("a", "3", annotations={"text": "\u2028\u0085ü" * 50_000}))
    stream = a_line("ADDED", a_thing("a", "2")) + big + a_line("BOOKMARK", {"metadata": {"resourceVersion": "8"}})
    stream += b"\n" + a_line("DELETED", a_thing("a", "9"))
    cuts = [0, 1, 40, 70, 71, 100_000, len(stream) - 150, len(stream) - 1, len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(cuts)]
    client = await serve(streaming(*chunks))
    heard = []
    events = await all_of(client.watch(PODS, Thing, resource_version="1", heard=lambda: heard.append(1)))
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "BOOKMARK", "DELETED"]
    assert [event.object.metadata.resource_version for event in events] == ["2", "3", "8", "9"]
    assert events[1].object.metadata.annotations["text"] == "\u2028\u0085ü" * 50_000
    assert len(heard) >= len(chunks)


async def test_gone_by_status(kmock, mocked):
    kmock["get /api/v1/pods"] << 410
    with pytest.raises(Gone):
        await all_of(mocked.watch(PODS, Thing, resource_version="1"))


async def test_gone_by_event(serve):
    error = a_line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old: 1 (5)"})
    client = await serve(streaming(error))
    with pytest.raises(Gone, match=r"watch /api/v1/pods: too old: 1 \(5\) \(410 Expired\)"):
        await all_of(client.watch(PODS, Thing, resource_version="1"))


async def test_another_error_by_event(serve):
    client = await serve(streaming(a_line("ERROR", {"kind": "Status", "code": 504, "message": "too large"})))
    with pytest.raises(KubernetesError) as caught:
        await all_of(client.watch(PODS, Thing, resource_version="1"))
    assert caught.value.status == 504


DEEP = b'{"type":"ADDED","object":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}\n"


@pytest.mark.parametrize(
    "line", [b'{"type":"PARTY","object":{}}\n', b'{"type":"ADDED","object":7}\n', b"<html>\n", DEEP]
)
async def test_events_that_are_not_understood(serve, line):
    client = await serve(streaming(line))
    with pytest.raises(KubernetesError, match="not understood"):
        await all_of(client.watch(PODS, Thing, resource_version="1"))


async def test_a_silent_watch_is_given_up(serve):
    async def silence(_):
        await asyncio.sleep(5)

    client = await serve(streaming(a_line("ADDED", a_thing("a")), then=silence))
    events = client.watch(PODS, Thing, resource_version="1", idle=0.1)
    async with contextlib.aclosing(events):
        assert (await anext(events)).type == "ADDED"
        with pytest.raises(Unreachable):
            await anext(events)


async def test_a_watch_that_is_cut(serve):
    async def cut(request):
        request.transport.abort()

    client = await serve(streaming(a_line("ADDED", a_thing("a")), b'{"type":', then=cut))
    events = client.watch(PODS, Thing, resource_version="1")
    async with contextlib.aclosing(events):
        assert (await anext(events)).type == "ADDED"
        with pytest.raises(Unreachable) as caught:
            await anext(events)
    assert caught.value.message != "watch /api/v1/pods: "


async def test_a_watch_that_ends_within_an_event(serve):
    client = await serve(streaming(a_line("ADDED", a_thing("a"))[:-5]))
    with pytest.raises(Unreachable, match="in the middle of an event"):
        await all_of(client.watch(PODS, Thing, resource_version="1"))


async def test_a_watch_that_is_left_closes_its_connection(serve):
    ended = asyncio.Event()

    async def wait(request):
        while request.transport is not None:
            await asyncio.sleep(0.01)
        ended.set()

    client = await serve(streaming(a_line("ADDED", a_thing("a")), then=wait))
    async with contextlib.aclosing(client.watch(PODS, Thing, resource_version="1")) as events:
        await anext(events)
    async with asyncio.timeout(2):
        await ended.wait()
