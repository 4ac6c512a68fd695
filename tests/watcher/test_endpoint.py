"""Gateways connect over TLS: one that proves its pod is served, whatever else comes is refused, bounded, and told once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import time

import msgspec
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.tls import client_context, names_of_peer, spiffe_id_of_peer
from kube_gateway.identity.authority import create_authority
from kube_gateway.model.pod import Pod
from kube_gateway.model.service import Backend, ServiceBackends
from kube_gateway.model.settings import Settings
from kube_gateway.watcher import endpoint as module
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.endpoint import ControlEndpoint
from watcher.api import Api
from watcher.made import configuration, pod_body, report, running, signer, signer_of, with_gateways

HOUR = datetime.timedelta(hours=1)
WEB = Pod(name="web", uid="uid-web", namespace="shop", service_account="web", addresses=("127.0.0.1",))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def context_of(pod, *, by=None, roots=None, life=HOUR):
    issuer = (by or signer()).issuer
    key, request = _native.create_key_and_request()
    issued = issuer.sign(request, pod=pod, life=life)
    return client_context(chain=issued.chain, key=key, trust_bundle=(roots or signer()).bundle.pem)


@pytest.fixture(scope="module")
def web_context():
    return context_of(WEB)


class Line:
    """A gateway's end."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def say(self, *said):
        for message in said:
            self.writer.write(message if isinstance(message, bytes) else messages.encode(message))

    async def hear(self):
        async with asyncio.timeout(3):
            line = await self.reader.readline()
        return messages.decode_from_watcher(line) if line else None

    async def ask(self, *said):
        self.say(*said)
        return await self.hear()

    async def is_ended(self):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return await self.hear() is None
        return True


class Watcher:
    """The endpoint, its cluster, and how to get at it."""

    def __init__(self, **options):
        self.port = free_port()
        self.configuration = configuration(port=self.port, **options)
        self.api = Api()
        for body in (pod_body("web", address="127.0.0.1"), pod_body("other", address="127.0.0.9", encrypt="true")):
            body["metadata"]["uid"] = f"uid-{body['metadata']['name']}"
            self.api.put("pods", with_gateways(body, running()))
        self.api.put("namespaces", {"metadata": {"name": "shop"}})
        self.looks = []
        self.lines = []
        self.endpoint = ControlEndpoint(self.configuration, signer=signer())
        self.cluster = None

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self.endpoint.run())]
        while self.endpoint._server is None:
            await asyncio.sleep(0.001)
            assert not self._tasks[0].done(), self._tasks[0]
        return self

    async def __aexit__(self, *_):
        for line in self.lines:
            line.writer.close()
        self.endpoint.close()
        for task in self._tasks:
            task.cancel()
        done, _ = await asyncio.wait(self._tasks)
        for task in done:
            assert task.cancelled() or task.exception() is None, task.exception()
        for _ in range(200):
            if self.endpoint.lines == 0:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("a line is left")

    def lead(self):
        self.cluster = Cluster(
            self.api.client(), self.configuration, on_pod=lambda _: None, on_services=self.endpoint.services_changed
        )
        self._tasks.append(asyncio.create_task(self.cluster.run()))
        self.endpoint.lead(self.cluster, self.looks.append)

    async def connect(self, context, *, source=None):
        local = (source, 0) if source else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, local_addr=local, limit=2**22
        )
        self.lines.append(Line(reader, writer))
        return self.lines[-1]


@pytest.fixture
async def watcher():
    async with Watcher() as made:
        made.lead()
        yield made


def hello(pod="shop/web", uid="uid-web", generation=1):
    return messages.Hello(pod=pod, uid=uid, generation=generation, version="0")


QUERY = messages.PeerQuery(address="127.0.0.9")
YES = messages.PeerAnswer(address="127.0.0.9", enrolled=True)


async def until(condition, seconds=3.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


# Who is served.


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
    gateway.configure(Settings(wanted=True, encryption="strict"), addresses=("127.0.0.1",))
    assert await line.hear() == messages.Configure(
        revision=1, addresses=("127.0.0.1",), settings=Settings(wanted=True, encryption="strict")
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


# Who is not.


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


# Who leads.


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


# The watcher's own certificate.


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
