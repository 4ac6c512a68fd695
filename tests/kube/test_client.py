"""What the client makes of the API server's answers, good and bad."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import json
import ssl

import httpx2
import msgspec
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kube_gateway.kube.client import KubernetesClient, Metadata
from kube_gateway.kube.refusals import (
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubernetesError,
    NotFound,
    Unreachable,
    rule_for,
)

PODS = "/api/v1/pods"


class Thing(msgspec.Struct):
    metadata: Metadata = Metadata()


def a_thing(name, version="1", **metadata):
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": version, **metadata}}


def a_line(kind, body):
    return json.dumps({"type": kind, "object": body}, ensure_ascii=False).encode() + b"\n"


@pytest.fixture
async def mocked(kmock):
    http = httpx2.AsyncClient(base_url=str(kmock.url), trust_env=False)
    async with KubernetesClient(http) as client:
        yield client


async def all_of(events):
    async with contextlib.aclosing(events):
        return [event async for event in events]


async def test_get_decodes_what_is_wanted(kmock, mocked):
    kmock["get /api/v1/namespaces/shop/pods/a"] << {
        **a_thing("a", annotations={"k": "v"}, labels=None, ownerReferences=[{"kind": "ReplicaSet", "uid": "7"}]),
        "spec": {"containers": [{"name": "not wanted"}]},
    }
    thing = await mocked.get("/api/v1/namespaces/shop/pods/a", Thing)
    assert (thing.metadata.name, thing.metadata.annotations, thing.metadata.labels) == ("a", {"k": "v"}, None)
    assert thing.metadata.owner_references[0].kind == "ReplicaSet"


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, Forbidden), (404, NotFound), (409, Conflict), (410, Gone), (422, Invalid), (500, KubernetesError)],
)
async def test_a_status_becomes_an_error(serve, code, kind):
    async def handler(_):
        return web.json_response(
            {"kind": "Status", "message": "no pods for you", "reason": "Because", "details": None}, status=code
        )

    client = await serve(handler)
    with pytest.raises(kind) as caught:
        await client.get("/api/v1/namespaces/shop/pods/a", Thing)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.reason) == (code, "Because")
    assert error.message == f"get /api/v1/namespaces/shop/pods/a: no pods for you ({code} Because)"


async def test_forbidden_names_the_rule_that_is_missing(serve):
    async def handler(_):
        return web.json_response({"message": "no"}, status=403)

    client = await serve(handler)
    with pytest.raises(Forbidden) as caught:
        await client.patch("/api/v1/namespaces/shop/pods/a/status", {}, kind="merge")
    assert '{"apiGroups":[""],"resources":["pods/status"],"verbs":["patch"]}' in caught.value.hint


@pytest.mark.parametrize(
    ("path", "group", "resource"),
    [
        ("/api/v1/pods", "", "pods"),
        ("/api/v1/namespaces", "", "namespaces"),
        ("/api/v1/namespaces/shop", "", "namespaces"),
        ("/api/v1/nodes/n1/status", "", "nodes/status"),
        ("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", "discovery.k8s.io", "endpointslices"),
    ],
)
def test_rules(path, group, resource):
    assert json.loads(rule_for(path, "get")) == {"apiGroups": [group], "resources": [resource], "verbs": ["get"]}


def test_rule_for_what_is_no_resource():
    assert json.loads(rule_for("/version", "get")) == {"nonResourceURLs": ["/version"], "verbs": ["get"]}


async def test_an_error_that_is_no_json(serve):
    async def handler(_):
        return web.Response(status=502, text="<h1>Bad Gateway</h1>" + "x" * 1000)

    client = await serve(handler)
    with pytest.raises(KubernetesError) as caught:
        await client.list(PODS, Thing)
    assert caught.value.status == 502
    assert "<h1>Bad Gateway</h1>" in caught.value.message
    assert len(caught.value.message) < 300


async def test_an_answer_that_is_no_kubernetes(serve):
    async def handler(_):
        return web.Response(text="welcome to the hotel network\n")

    client = await serve(handler)
    with pytest.raises(KubernetesError, match="not understood"):
        await client.list(PODS, Thing)
    with pytest.raises(KubernetesError, match="not understood"):
        await all_of(client.watch(PODS, Thing, resource_version="1"))


@pytest.mark.parametrize("by_header", [True, False])
async def test_retry_after(serve, by_header):
    async def handler(_):
        headers = {"Retry-After": "7"} if by_header else {}
        return web.json_response({"details": {"retryAfterSeconds": 7}}, status=429, headers=headers)

    client = await serve(handler)
    with pytest.raises(KubernetesError) as caught:
        await client.create(PODS, {})
    assert (caught.value.status, caught.value.retry_after) == (429, 7.0)


async def test_an_empty_list_is_null(kmock, mocked):
    kmock["get /api/v1/pods"] << {"metadata": {"resourceVersion": "5"}, "items": None}
    listing = await mocked.list(PODS, Thing)
    assert (listing.items, listing.resource_version) == ((), "5")


async def test_paging(serve):
    seen = []

    async def handler(request):
        seen.append(dict(request.query))
        page = int(request.query.get("continue", "0"))
        metadata = {"resourceVersion": "9", "continue": str(page + 1) if page < 2 else ""}
        return web.json_response({"metadata": metadata, "items": [a_thing(f"p{page}")]})

    client = await serve(handler)
    listing = await client.list(PODS, Thing, parameters={"labelSelector": "a=b", "resourceVersion": "0"})
    assert [item.metadata.name for item in listing.items] == ["p0", "p1", "p2"]
    assert listing.resource_version == "9"
    assert seen == [
        {"labelSelector": "a=b", "resourceVersion": "0", "limit": "500"},
        {"labelSelector": "a=b", "limit": "500", "continue": "1"},
        {"labelSelector": "a=b", "limit": "500", "continue": "2"},
    ]


async def test_a_list_whose_version_is_forgotten_is_read_in_one_piece(serve):
    async def handler(request):
        if "continue" in request.query:
            return web.json_response({"code": 410, "reason": "Expired"}, status=410)
        if "limit" in request.query:
            return web.json_response(
                {"metadata": {"resourceVersion": "1", "continue": "x"}, "items": [a_thing("old"), a_thing("a")]}
            )
        return web.json_response({"metadata": {"resourceVersion": "2"}, "items": [a_thing("a"), a_thing("b")]})

    client = await serve(handler)
    listing = await client.list(PODS, Thing)
    assert [item.metadata.name for item in listing.items] == ["a", "b"]
    assert listing.resource_version == "2"


async def test_a_first_page_that_is_gone_is_an_error(kmock, mocked):
    kmock["get /api/v1/pods"] << 410
    with pytest.raises(Gone):
        await mocked.list(PODS, Thing)


@pytest.mark.parametrize(
    ("kind", "content_type", "query"),
    [
        ("merge", "application/merge-patch+json", {}),
        ("strategic", "application/strategic-merge-patch+json", {}),
        ("json", "application/json-patch+json", {}),
        ("apply", "application/apply-patch+yaml", {"fieldManager": "kube-gateway", "force": "true"}),
    ],
)
async def test_patches(serve, kind, content_type, query):
    seen = []

    async def handler(request):
        seen.append((request.method, request.headers["Content-Type"], dict(request.query), await request.json()))
        return web.json_response({"ok": True})

    client = await serve(handler)
    answer = await client.patch("/api/v1/pods/a", Metadata(name="a"), kind=kind, parameters={"dryRun": "All"})
    assert json.loads(answer) == {"ok": True}
    assert seen == [("PATCH", content_type, {**query, "dryRun": "All"}, {"name": "a"})]


async def test_create_replace_delete(serve):
    seen = []

    async def handler(request):
        seen.append((request.method, request.path, await request.text()))
        return web.json_response({})

    client = await serve(handler)
    await client.create("/c", {"a": 1})
    await client.replace("/c/a", {"a": 2})
    await client.delete("/c/a")
    await client.delete("/c/a", body={"preconditions": {"uid": "1"}})
    assert seen == [
        ("POST", "/c", '{"a":1}'),
        ("PUT", "/c/a", '{"a":2}'),
        ("DELETE", "/c/a", ""),
        ("DELETE", "/c/a", '{"preconditions":{"uid":"1"}}'),
    ]


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


async def test_a_request_has_a_time_limit(serve):
    async def handler(_):
        await asyncio.sleep(5)

    client = await serve(handler, request_timeout=0.1)
    with pytest.raises(Unreachable, match="no answer in time") as caught:
        await client.list(PODS, Thing)
    assert caught.value.status == 0
    with pytest.raises(Unreachable):
        await all_of(client.watch(PODS, Thing, resource_version="1"))


async def test_cancelling_is_not_lost(serve):
    async def handler(_):
        await asyncio.sleep(5)

    client = await serve(handler)
    asking = asyncio.create_task(client.list(PODS, Thing))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_nobody_listens():
    async with KubernetesClient(httpx2.AsyncClient(base_url="http://127.0.0.1:1", trust_env=False)) as client:
        with pytest.raises(Unreachable, match="Connect call failed") as caught:
            await client.list(PODS, Thing)
    assert caught.value.hint


async def test_a_certificate_that_is_not_trusted(tmp_path, serve):
    certificate = a_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=server)
    port = listener.sockets[0].getsockname()[1]
    async with listener, KubernetesClient(httpx2.AsyncClient(base_url=f"https://127.0.0.1:{port}")) as client:
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await client.list(PODS, Thing)


def a_certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def a_kubeconfig(directory, server, user):
    file = directory / "config"
    config = {
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "two", "context": {"cluster": "c"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
    }
    file.write_text(json.dumps(config))
    return file


async def test_connect_with_a_file(tmp_path, serve):
    seen = []

    async def handler(request):
        seen.append((request.path, request.headers.get("Authorization"), request.headers["User-Agent"]))
        return web.json_response(a_thing("a"))

    url = (await serve(handler)).server + "/k8s/clusters/c1"
    file = a_kubeconfig(tmp_path, url, {"token": "secret"})
    async with KubernetesClient.connect(kubeconfig=file) as client:
        assert (client.server, client.namespace) == (url, "shop")
        await client.get("/api/v1/pods/a", Thing)
    async with KubernetesClient.connect(kubeconfig=file, context="two") as client:
        assert client.namespace == "default"
        await client.get("/api/v1/pods/a", Thing)
    path = "/k8s/clusters/c1/api/v1/pods/a"
    assert seen == [(path, "Bearer secret", "kube-gateway"), (path, None, "kube-gateway")]


@pytest.mark.parametrize(
    ("content", "context", "says"),
    [
        (None, None, "not found"),
        ("{}", None, "KeyError 'clusters'"),
        ("a: [", None, "expected"),
        ("just words", None, "AttributeError"),
        ('{"contexts":[],"clusters":[]}', None, "No current context"),
        ('{"contexts":[],"clusters":[]}', "mine", "Context 'mine' not found"),
    ],
)
def test_connect_without_a_usable_file(tmp_path, content, context, says):
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(KubernetesError, match=says) as caught:
        KubernetesClient.connect(kubeconfig=file, context=context)
    assert str(file) in caught.value.message
    assert caught.value.hint


def test_connect_without_any_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(KubernetesError, match="no cluster to connect to"):
        KubernetesClient.connect()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ({"command": "/nowhere/plugin"}, "/nowhere/plugin"),
        ({"command": "false"}, "returned 1"),
        ({"command": "true"}, "no credentials"),
        ({"command": "echo", "args": ["null"]}, "no credentials"),
        ({"command": "echo", "args": ["{}"]}, "status"),
    ],
)
async def test_an_exec_plugin_that_fails(tmp_path, command, says):
    exec_ = {"apiVersion": "client.authentication.k8s.io/v1beta1", **command}
    file = a_kubeconfig(tmp_path, "http://127.0.0.1:1", {"exec": exec_})
    async with KubernetesClient.connect(kubeconfig=file) as client:
        with pytest.raises(KubernetesError, match=says):
            await client.list(PODS, Thing)
