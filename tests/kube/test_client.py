"""What the client makes of the API server's answers, good and bad."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from kube.client_parts import PODS, Thing, a_thing, all_of
from kube_gateway.kube.client import Metadata
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


async def test_get_decodes_what_is_wanted(kmock, mocked):
    kmock["get /api/v1/namespaces/shop/pods/a"] << {
        **a_thing("a", annotations={"k": "v"}, labels=None, ownerReferences=[{"kind": "not wanted"}]),
        "spec": {"containers": [{"name": "not wanted"}]},
    }
    thing = await mocked.get("/api/v1/namespaces/shop/pods/a", Thing)
    assert (thing.metadata.name, thing.metadata.annotations, thing.metadata.labels) == ("a", {"k": "v"}, None)


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
