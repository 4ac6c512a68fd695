"""Whoever does not prove its pod over TLS is refused, whatever else comes is bounded, and it is told once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl

import msgspec
import pytest

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.tls import client_context
from kube_gateway.identity.authority import create_authority
from kube_gateway.model.pod import Pod
from kube_gateway.watcher import endpoint as module
from watcher.line_world import HOUR, QUERY, WEB, YES, context_of, hello, until
from watcher.made import pod_body, running, signer, signer_of, with_gateways

REFUSED = {
    "another pod of the same service account": (
        msgspec.structs.replace(WEB, uid="uid-web2", addresses=("127.0.0.8",)),
        hello(),
        "it says it is the gateway of shop/web (uid-web), and its certificate is for "
        "spiffe://cluster.local/ns/shop/sa/web (uid-web2) at 127.0.0.8",
    ),
    "the pod that had the name, and the address, before": (
        msgspec.structs.replace(WEB, uid="uid-before"),
        hello(uid="uid-before"),
        "it says it is the gateway of shop/web (uid-web)",
    ),
    "the right uid at another address": (
        msgspec.structs.replace(WEB, addresses=("127.0.0.8",)),
        hello(),
        "at 127.0.0.8",
    ),
    "one address too many": (
        msgspec.structs.replace(WEB, addresses=("127.0.0.1", "127.0.0.9")),
        hello(),
        "at 127.0.0.1, 127.0.0.9",
    ),
    "another service account": (msgspec.structs.replace(WEB, service_account="db"), hello(), "sa/db"),
    "another namespace": (msgspec.structs.replace(WEB, namespace="bank"), hello(), "ns/bank"),
    "a pod that is not there": (WEB, hello(pod="shop/gone"), "there is no pod shop/gone"),
    "another pod than its own": (
        WEB,
        hello(pod="shop/other", uid="uid-other"),
        "it says it is the gateway of shop/other",
    ),
    "a generation that was never added": (WEB, hello(generation=7), "shop/web has no gateway 7"),
    "one that asks before it says who it is": (WEB, QUERY, "it does not introduce itself"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_who_does_not_prove_its_pod_is_refused(watcher, caplog, case):
    pod, first, why = REFUSED[case]
    line = await watcher.connect(context_of(pod))
    line.say(first, QUERY)
    assert await line.is_ended()
    assert watcher.endpoint.lines == 0
    assert "127.0.0.1 is not let in: " in caplog.text
    assert why in caplog.text


async def test_a_pod_of_the_watchers_own_namespace_has_no_gateway(watcher, caplog):
    own = Pod(
        name="watcher-1",
        uid="uid-w",
        namespace="kube-gateway",
        service_account="kube-gateway-watcher",
        addresses=("127.0.0.1",),
    )
    body = with_gateways(pod_body("watcher-1", namespace="kube-gateway", address="127.0.0.1"), running())
    body["metadata"]["uid"] = "uid-w"
    watcher.api.put("pods", body)
    line = await watcher.connect(context_of(own))
    line.say(hello(pod="kube-gateway/watcher-1", uid="uid-w"), QUERY)
    assert await line.is_ended()
    assert "there is no pod kube-gateway/watcher-1" in caplog.text


async def test_other_roots_and_no_certificate_end_in_the_handshake_without_a_word(watcher, caplog, tmp_path):
    strangers = signer_of(create_authority(tmp_path / "strangers"))
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname = False
    nobody.verify_mode = ssl.CERT_NONE
    for context in (context_of(WEB, by=strangers), nobody):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            line = await watcher.connect(context)
            line.say(hello(), QUERY)
            assert await line.is_ended()
    assert watcher.endpoint.lines == 0
    assert caplog.text == ""


async def test_an_expired_certificate_ends_in_the_handshake(watcher):
    key, request = _native.create_key_and_request()
    then = datetime.datetime.now(datetime.UTC) - 2 * HOUR
    issued = signer().issuer.sign(request, pod=WEB, life=HOUR, now=then)
    context = client_context(chain=issued.chain, key=key, trust_bundle=signer().bundle.pem)
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        line = await watcher.connect(context)
        line.say(hello(), QUERY)
        assert await line.is_ended()
    assert watcher.endpoint.lines == 0


async def test_plain_text_gets_nothing(watcher, caplog, web_context):
    reader, writer = await asyncio.open_connection("127.0.0.1", watcher.port)
    writer.write(messages.encode(hello()) * 20)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(3):
            assert b"PeerAnswer" not in await reader.read()
    writer.close()
    line = await watcher.connect(web_context)
    assert await line.ask(hello(), QUERY) == YES
    assert caplog.text == ""


async def test_plain_text_before_the_handshake_is_not_taken_for_what_was_said_under_it(watcher):
    reader, writer = await asyncio.open_connection("127.0.0.1", watcher.port)
    writer.write(messages.encode(hello()))
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(3):
            await writer.start_tls(context_of(WEB))
            writer.write(messages.encode(QUERY))
            assert await reader.read() == b""
    writer.close()
    assert watcher.endpoint.lines == 0


async def test_a_gateway_that_is_let_in_and_whose_pod_goes_gets_no_certificate(watcher, web_context, caplog):
    line = await watcher.connect(web_context)
    assert await line.ask(hello(), QUERY) == YES
    watcher.api.remove("pods", "shop/web")
    await until(lambda: watcher.cluster.pod("shop/web") is None)
    _, request = _native.create_key_and_request()
    assert await line.ask(messages.CertificateRequest(number=1, csr=request), QUERY) == YES
    assert "no certificate for shop/web: the pod shop/web is gone" in caplog.text
    body = with_gateways(pod_body("web", address="127.0.0.1"), running())
    body["metadata"]["uid"] = "uid-next"
    watcher.api.put("pods", body)
    await until(lambda: watcher.cluster.pod("shop/web") is not None)
    caplog.clear()
    assert await line.ask(messages.CertificateRequest(number=2, csr=request), QUERY) == YES
    assert "is gone" in caplog.text
    assert not watcher.cluster.memory("shop/web").lines


@pytest.mark.parametrize(
    "request_", ["", "no PEM", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
async def test_a_request_that_is_none_does_not_end_the_line(watcher, web_context, request_):
    line = await watcher.connect(web_context)
    assert await line.ask(hello(), messages.CertificateRequest(number=1, csr=request_), QUERY) == YES


@pytest.mark.parametrize("said", [b"x\n", b"\xff\n", b"{}\n", b"x" * (2**20 + 2**17)])
async def test_nonsense_ends_the_line_and_no_other(watcher, web_context, caplog, said):
    good, bad = [await watcher.connect(web_context) for _ in range(2)]
    assert await good.ask(hello(), QUERY) == YES
    bad.say(said)
    assert await bad.is_ended()
    assert await good.ask(QUERY) == YES
    assert "Traceback" not in caplog.text


async def test_nonsense_after_the_introduction_ends_the_line(watcher, web_context, caplog):
    line = await watcher.connect(web_context)
    assert await line.ask(hello(), QUERY) == YES
    line.say(b'{"type":"Tomorrow"}\n')
    assert await line.is_ended()
    await until(lambda: watcher.endpoint.lines == 0)
    assert caplog.text == ""


# What is bounded.


async def test_a_client_that_says_nothing_is_not_waited_for_long(watcher, web_context, monkeypatch):
    monkeypatch.setattr(module, "HELLO_WITHIN", 0.2)
    line = await watcher.connect(web_context)
    assert await line.is_ended()
    slow = await watcher.connect(web_context)
    for letter in b'{"type"':
        slow.say(bytes([letter]))
        await asyncio.sleep(0.05)
    assert await slow.is_ended()
    assert watcher.endpoint._unproven == {}


async def test_a_handshake_is_not_waited_for_long(watcher, monkeypatch):
    monkeypatch.setattr(module, "_HANDSHAKE_WITHIN", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", watcher.port)
    async with asyncio.timeout(2):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    await until(lambda: watcher.endpoint._unproven == {})


async def test_a_flood_from_one_address_is_refused_and_others_are_served(watcher, web_context, caplog, monkeypatch):
    monkeypatch.setattr(module, "MOST_UNPROVEN_OF_ONE", 8)
    flood = [await asyncio.open_connection("127.0.0.1", watcher.port, local_addr=("127.0.0.66", 0)) for _ in range(100)]
    await until(lambda: watcher.endpoint._unproven["127.0.0.66"] == 8)
    ended = 0
    for reader, _ in flood[8:]:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(3):
                assert await reader.read() == b""
        ended += 1
    assert ended == 92
    line = await watcher.connect(web_context)
    assert await line.ask(hello(), QUERY) == YES
    told = [record for record in caplog.records if "too many at once" in record.message]
    assert len(told) == 1
    for _, writer in flood:
        writer.close()
    await until(lambda: watcher.endpoint._unproven == {})


async def test_a_flood_from_everywhere_is_bounded(watcher, monkeypatch):
    monkeypatch.setattr(module, "MOST_UNPROVEN", 10)
    flood = [
        await asyncio.open_connection("127.0.0.1", watcher.port, local_addr=(f"127.0.1.{n}", 0)) for n in range(1, 40)
    ]
    await asyncio.sleep(0.1)
    assert watcher.endpoint._unproven.total() == 10
    for _, writer in flood:
        writer.close()
    await until(lambda: watcher.endpoint._unproven == {})


async def test_whoever_is_not_let_in_is_told_once_however_often_it_comes(watcher, caplog):
    context = context_of(msgspec.structs.replace(WEB, uid="uid-x"))
    for _ in range(5):
        line = await watcher.connect(context)
        line.say(hello())
        assert await line.is_ended()
    assert caplog.text.count("is not let in") == 1
