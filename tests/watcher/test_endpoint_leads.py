"""Lines while the leadership comes and goes."""

from __future__ import annotations

import asyncio

from kube_gateway.control import messages
from kube_gateway.watcher import endpoint as module
from watcher.line_world import QUERY, YES, Watcher, hello, until


async def test_who_stands_by_says_who_leads(web_context):
    async with Watcher() as watcher:
        line = await watcher.connect(web_context)
        assert await line.ask(hello()) == messages.Elsewhere(control="")
        assert await line.is_ended()
        watcher.endpoint.leader_is("tls:10.0.0.4:18444")
        line = await watcher.connect(web_context)
        assert await line.ask(hello(), QUERY) == messages.Elsewhere(control="tls:10.0.0.4:18444")
        assert await line.is_ended()


async def test_lines_end_when_the_leadership_is_lost(watcher, web_context):
    line = await watcher.connect(web_context)
    assert await line.ask(hello(), QUERY) == YES
    watcher.endpoint.stand_by()
    watcher.endpoint.leader_is("tls:10.0.0.4:18444")
    assert await line.is_ended()
    line.writer.close()
    await until(lambda: watcher.endpoint.lines == 0)
    again = await watcher.connect(web_context)
    assert await again.ask(hello()) == messages.Elsewhere(control="tls:10.0.0.4:18444")
    watcher.lead()
    third = await watcher.connect(web_context)
    assert await third.ask(hello(), QUERY) == YES


async def test_who_connects_while_the_leadership_is_lost_is_sent_on(watcher, web_context):
    """It waits until the pods are known; that is when we stop leading."""
    watcher.api.reading_fails = True
    watcher.endpoint.stand_by()
    watcher.lead()
    stale = watcher.cluster
    line = await watcher.connect(web_context)
    line.say(hello(), QUERY)
    await until(lambda: watcher.endpoint._unproven.total() == 1)
    await asyncio.sleep(0.1)
    watcher.endpoint.stand_by()
    watcher.endpoint.leader_is("tls:10.0.0.4:18444")
    watcher.api.reading_fails = False
    await stale.pods_known()
    await stale.services_known()
    assert await line.hear() == messages.Elsewhere(control="tls:10.0.0.4:18444")
    assert watcher.endpoint.lines == 0


async def test_a_gateway_waits_until_the_pods_are_known(web_context):
    async with Watcher() as watcher:
        watcher.api.reading_fails = True
        watcher.lead()
        line = await watcher.connect(web_context)
        line.say(hello(), QUERY)
        await asyncio.sleep(0.1)
        watcher.api.reading_fails = False
        assert await line.hear() == YES


async def test_a_cluster_that_is_never_known_ends_the_line(web_context, monkeypatch):
    monkeypatch.setattr(module, "_KNOWN_WITHIN", 0.1)
    async with Watcher() as watcher:
        watcher.api.reading_fails = True
        watcher.lead()
        line = await watcher.connect(web_context)
        line.say(hello(), QUERY)
        assert await line.is_ended()
