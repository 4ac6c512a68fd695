"""A gateway that proves its pod is served, and told what it has asked for."""

from __future__ import annotations

import asyncio
import datetime
import socket
import time

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.tls import client_context, names_of_peer, spiffe_id_of_peer
from kube_gateway.gateway import wall_clock
from kube_gateway.model.pod import Pod
from kube_gateway.model.service import Backend, ServiceBackends
from kube_gateway.model.settings import Settings
from kube_gateway.watcher.endpoint import ControlEndpoint
from watcher.line_world import QUERY, YES, Watcher, hello, until
from watcher.made import configuration, report, signer


async def test_a_gateway_is_served(watcher, web_context):
    line = await watcher.connect(web_context)
    assert spiffe_id_of_peer(line.writer.get_extra_info("ssl_object")) == (
        "spiffe://cluster.local/ns/kube-gateway/sa/kube-gateway-watcher"
    )
    assert await line.ask(hello(), QUERY) == YES
    assert watcher.endpoint.lines == 1
    line.say(report("ready"))
    gateway = watcher.cluster.memory("shop/web").line(1)
    await until(lambda: gateway.state == "ready")
    assert set(watcher.looks) == {"shop/web"}
    gateway.configure(
        Settings(wanted=True, encryption="strict"),
        pod=Pod(name="web", uid="1", addresses=("127.0.0.1",)),
        authorize=False,
    )
    assert await line.hear() == messages.Configure(
        revision=gateway.revision, addresses=("127.0.0.1",), settings=Settings(wanted=True, encryption="strict")
    )


async def test_a_certificate_is_renewed_for_the_pod_as_it_is_now(watcher, web_context):
    line = await watcher.connect(web_context)
    key, request = _native.create_key_and_request()
    answer = await line.ask(hello(), messages.CertificateRequest(number=4, csr=request))
    assert (answer.number, answer.spiffe_id) == (4, "spiffe://cluster.local/ns/shop/sa/web")
    assert answer.expires == pytest.approx(time.time() + 3600, abs=5)
    renewed = client_context(chain=answer.chain, key=key, trust_bundle=answer.trust_bundle)
    again = await watcher.connect(renewed)
    assert await again.ask(hello(), QUERY) == YES


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_a_pod_that_has_ended_is_certified_no_more(watcher, web_context, phase):
    """Its object stays for as long as nobody deletes it, and its address may be another pod's."""
    line = await watcher.connect(web_context)
    _, request = _native.create_key_and_request()
    assert isinstance(await line.ask(hello(), messages.CertificateRequest(number=1, csr=request)), messages.Certificate)
    watcher.api.change("pods", "shop/web", lambda body: body["status"].update(phase=phase))
    await until(lambda: watcher.cluster.pod("shop/web").has_ended)
    # The first answer is to the second question.
    assert isinstance(await line.ask(messages.CertificateRequest(number=2, csr=request), QUERY), messages.PeerAnswer)
    again = await watcher.connect(web_context)
    again.say(hello(), QUERY)
    assert await again.is_ended()


async def test_its_own_certificate_is_made_anew_when_the_clock_was_set(watcher, monkeypatch):
    before = watcher.endpoint._tls
    real = time.time
    monkeypatch.setattr(wall_clock.time, "time", lambda: real() + 7200)
    await until(lambda: watcher.endpoint._tls is not before)


async def test_a_request_cannot_ask_for_names(watcher, web_context):
    line = await watcher.connect(web_context)
    _, request = _native.create_key_and_request()
    answer = await line.ask(hello(), messages.CertificateRequest(number=1, csr=request))
    leaf = x509.load_pem_x509_certificate(answer.chain.encode())
    assert leaf.subject.get_attributes_for_oid(NameOID.USER_ID)[0].value == "uid-web"
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


async def test_a_service_is_answered_and_each_change_is_told(watcher, web_context):
    line = await watcher.connect(web_context)
    query = messages.ServiceQuery(address="10.96.0.1", port=80)
    assert await line.ask(hello(), query) == messages.ServiceAnswer(address="10.96.0.1", port=80)
    spec = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.1",
        "clusterIPs": ["10.96.0.1"],
        "ports": [{"port": 80, "protocol": "TCP"}],
    }
    watcher.api.put("services", {"metadata": {"name": "db", "namespace": "shop"}, "spec": spec})
    empty = ServiceBackends(service="shop/db")
    assert await line.hear() == messages.ServiceAnswer(address="10.96.0.1", port=80, service=empty)
    watcher.api.put(
        "endpointslices",
        {
            "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.7"], "conditions": {"ready": True}}],
            "ports": [{"port": 5432, "protocol": "TCP"}],
        },
    )
    full = msgspec.structs.replace(empty, backends=(Backend(address="10.0.0.7", port=5432),))
    assert await line.hear() == messages.ServiceAnswer(address="10.96.0.1", port=80, service=full)
    watcher.api.remove("services", "shop/db")
    assert await line.hear() == messages.ServiceAnswer(address="10.96.0.1", port=80)


async def test_what_was_not_asked_is_not_told(watcher, web_context):
    line = await watcher.connect(web_context)
    await line.ask(hello(), QUERY)
    spec = {"clusterIP": "10.96.0.1", "ports": [{"port": 80}]}
    watcher.api.put("services", {"metadata": {"name": "db", "namespace": "shop"}, "spec": spec})
    await until(lambda: watcher.cluster.services.resolve("10.96.0.1", 80) is not None)
    assert await line.ask(QUERY) == YES


async def test_a_second_line_of_the_same_gateway_takes_the_place_of_the_first(watcher, web_context):
    first, second = [await watcher.connect(web_context) for _ in range(2)]
    assert await first.ask(hello(), QUERY) == YES
    assert await second.ask(hello(), QUERY) == YES
    assert await first.is_ended()
    assert await second.ask(QUERY) == YES
    assert watcher.cluster.memory("shop/web").line(1).is_connected


async def test_a_gateway_that_was_just_added_is_known_before_the_api_shows_it(watcher, web_context):
    await watcher.cluster.pods_known()
    watcher.cluster.memory("shop/web").started = 2
    line = await watcher.connect(web_context)
    assert await line.ask(hello(generation=2), QUERY) == YES


async def test_its_certificate_is_made_anew_while_lines_stand(web_context):
    async with Watcher(certificate_life=datetime.timedelta(seconds=3)) as watcher:
        watcher.lead()
        line = await watcher.connect(web_context)
        assert await line.ask(hello(), QUERY) == YES
        serials = set()
        for _ in range(9):
            other = await watcher.connect(web_context)
            ours = other.writer.get_extra_info("ssl_object")
            serials.add(ours.getpeercert()["serialNumber"])
            assert names_of_peer(ours).uid == "watcher-1"
            assert await other.ask(hello(pod="shop/gone")) is None
            await asyncio.sleep(0.2)
        assert len(serials) >= 2
        assert await line.ask(QUERY) == YES


async def test_a_port_that_is_taken_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = ControlEndpoint(configuration(port=taken.getsockname()[1]), signer=signer())
        with pytest.raises(OSError, match="in use"):
            async with asyncio.timeout(3):
                await endpoint.run()


async def test_a_line_costs_little_memory(watcher, web_context):
    """asyncio keeps a buffer for each; in a large cluster that would be most of the watcher's memory."""
    line = await watcher.connect(web_context)
    assert await line.ask(hello(), QUERY) == YES
    (writer,) = watcher.endpoint._answers
    assert len(writer.transport._ssl_protocol._ssl_buffer) <= 16 * 1024
