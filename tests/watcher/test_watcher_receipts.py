"""Receipts that are asked for in the watcher's container."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from kube_gateway.control import messages
from kube_gateway.errors import KubeGatewayError
from kube_gateway.watcher import receipts
from kube_gateway.watcher.receipts import ReceiptDesk, Wanted, ask
from watcher.line_world import QUERY, YES, hello
from watcher.made import report

NAME = f"watcher-{os.getpid()}"
WANTED = Wanted(pod="shop/web", since=1.0, until=2.0)


@contextlib.asynccontextmanager
async def open_desk():
    desk = ReceiptDesk(NAME)
    task = asyncio.create_task(desk.run())
    await asyncio.sleep(0.05)
    try:
        yield desk
    finally:
        task.cancel()
        await asyncio.wait([task])


async def asked(wanted=WANTED, name=NAME):
    return await asyncio.to_thread(ask, name, wanted)


async def test_a_receipt_is_asked_for_at_the_gateway_and_handed_on(watcher, web_context):
    async with open_desk() as desk:
        desk.lead(watcher.cluster)
        line = await watcher.connect(web_context)
        assert await line.ask(hello(), QUERY) == YES
        line.say(report("ready"))
        answer = asyncio.create_task(asked())
        question = await line.hear()
        assert (type(question), question.since, question.until) == (messages.ReceiptQuery, 1.0, 2.0)
        line.say(messages.Receipt(number=question.number, receipt="signed"))
        assert await answer == "signed"


async def test_a_gateway_that_has_none_says_why(watcher, web_context):
    async with open_desk() as desk:
        desk.lead(watcher.cluster)
        line = await watcher.connect(web_context)
        assert await line.ask(hello(), QUERY) == YES
        line.say(report("ready"))
        answer = asyncio.create_task(asked())
        line.say(messages.Receipt(number=(await line.hear()).number, problem="it is too early"))
        with pytest.raises(KubeGatewayError, match="shop/web has no receipt for that period: it is too early"):
            await answer


@pytest.mark.parametrize(
    ("pod", "words", "hint"),
    [
        ("shop/none", "there is no pod shop/none", "name it as NAMESPACE/NAME"),
        ("shop/other", "shop/other has no gateway that could sign a receipt", "kube-gateway status other"),
        ("kube-gateway/watcher", "there is no pod kube-gateway/watcher", "name it as NAMESPACE/NAME"),
    ],
)
async def test_pods_that_have_no_receipt(watcher, pod, words, hint):
    await watcher.cluster.pods_known()
    async with open_desk() as desk:
        desk.lead(watcher.cluster)
        with pytest.raises(KubeGatewayError, match=words) as refused:
            await asked(Wanted(pod=pod, since=0.0, until=0.0))
        assert refused.value.hint == hint


async def test_who_stands_by_names_the_leader(watcher):
    async with open_desk() as desk:
        desk.lead(watcher.cluster)
        desk.stand_by()
        with pytest.raises(KubeGatewayError, match="this watcher stands by") as refused:
            await asked()
        assert refused.value.hint == "ask the one that leads: none yet"
        desk.leader_is("watcher-2")
        with pytest.raises(KubeGatewayError) as refused:
            await asked()
        assert refused.value.hint == "ask the one that leads: watcher-2"


async def test_another_user_is_not_answered(monkeypatch, caplog):
    monkeypatch.setattr(receipts.os, "geteuid", lambda: os.getuid() + 1)
    async with open_desk():
        with pytest.raises(KubeGatewayError, match="there is no watcher here"):
            await asked()
    assert "another user asks for receipts, and is not answered" in caplog.text


@pytest.mark.parametrize("said", [b"", b"\n", b"{}\n", b"not json\n", b'{"pod": 1}\n'])
async def test_nonsense_is_not_answered_and_ends_nothing(said):
    async with open_desk():
        reader, writer = await asyncio.open_unix_connection(f"\0kube-gateway-receipts-{NAME}")
        writer.write(said)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(KubeGatewayError, match="this watcher stands by"):
            await asked()


async def test_where_there_is_no_watcher_it_is_said_where_there_is_one():
    with pytest.raises(KubeGatewayError, match="there is no watcher here") as refused:
        await asked(name="nobody")
    assert refused.value.hint.startswith("kubectl exec -n kube-gateway deploy/kube-gateway-watcher -- ")


async def test_a_name_that_is_taken_is_no_reason_not_to_watch(caplog):
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(f"\0kube-gateway-receipts-{NAME}")
        await asyncio.wait_for(ReceiptDesk(NAME).run(), 3)
    assert "nobody can ask for receipts here: " in caplog.text
