"""Every reason for a refusal, in every API, to clients that wait for a stream and to those that do not."""

from __future__ import annotations

import json

import pytest
from policy_dialects import APIS, Api
from policy_scenes import Scene

from kube_gateway.ai.dialect import Reply

RULES = {
    "endpoint_denied": "{kind: endpoints, name: r, endpoints: [chat]}",
    "endpoint_denied for a model": "{kind: endpoints, name: r, endpoints: [chat], when: {models: ['gpt*']}}",
    "model_denied": "{kind: model, name: r, match: 'gpt*', deny: true}",
    "blocked": "{kind: words, name: r, words: [bluebird], lanes: [prompt], action: deny}",
    "tool_denied": "{kind: tools, name: r, tools: [shell], request: refuse}",
    "too_large": "{kind: size, name: r, maxBytes: 10}",
    "budget_exhausted": "{kind: budget, name: r, tokens: 1, window: 1d}",
    "rate_limited": "{kind: rate, name: r, tokens: 1}",
}
AS_ANSWER = {name for name in RULES if name.startswith(("endpoint", "model", "blocked", "tool"))}


@pytest.fixture(params=APIS)
def api(request) -> Api:
    return APIS[request.param]


def refused(api: Api, rule: str, *, stream: bool, head: str = "", body: bytes | None = None) -> Reply:
    scene = Scene(f"version: 1\n{head}\nrules: [{rule}]")
    asked = {**api.request("a bluebird", "shell"), **((api.stream or {}) if stream else {})}
    target = api.stream_target if stream and api.stream_target else api.target
    reply = scene.decide("POST", target, asked if body is None else body).reply
    assert reply is not None
    assert len(scene.meters.calls) == 1
    assert scene.call.streaming is stream
    return reply


def kind_of(reply: Reply) -> str:
    return dict(reply.headers)["content-type"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_an_error(api, name, stream):
    reply = refused(api, RULES[name], stream=stream)
    assert reply.status in {403, 413, 429}
    assert kind_of(reply) == "application/json"
    assert "error" in json.loads(reply.body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_an_answer(api, name, stream):
    reply = refused(api, RULES[name], stream=stream, head="onBlock: {form: answer, message: it says no}")
    if name not in AS_ANSWER:
        assert (reply.status, kind_of(reply)) == ({"too_large": 413}.get(name, 429), "application/json")
        return
    assert reply.status == 200
    assert b"it says no" in reply.body
    assert kind_of(reply) == (api.kind if stream else "application/json")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_may_want_an_answer_for_any_reason(api, name, stream):
    rule = RULES[name].removesuffix("}") + ", onBlock: {form: answer, message: it says no}}"
    reply = refused(api, rule, stream=stream)
    assert reply.status == 200
    assert b"it says no" in reply.body
    assert kind_of(reply) == (api.kind if stream else "application/json")


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_json_blocks_in_the_form_that_the_client_waits_for(api, stream):
    scene = Scene('{"request": {"block": true}}')
    asked = {**api.request("hi", "t"), **((api.stream or {}) if stream else {})}
    target = api.stream_target if stream and api.stream_target else api.target
    reply = scene.decide("POST", target, asked).reply
    assert (reply.status, kind_of(reply)) == (200, api.kind if stream else "application/json")
    assert b"kube-gateway says no" in reply.body


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_that_cannot_be_read_is_denied_in_the_form_that_it_seems_to_ask_for(stream):
    api = APIS["openai_chat"]
    body = b'{"stream" : ' + (b"true" if stream else b"false") + b', "messages": [}'
    reply = refused(api, RULES["endpoint_denied"], stream=stream, head="onBlock: {form: answer}", body=body)
    assert (reply.status, kind_of(reply)) == (200, api.kind if stream else "application/json")
    reply = refused(api, RULES["blocked"], stream=stream, head="onBlock: {form: answer}", body=body)
    assert (reply.status, kind_of(reply)) == (400, "application/json")


@pytest.mark.parametrize(
    ("body", "stream"), [(b'{"model":"m","stream":true,"mess', True), (b'{"model":"m","mess', False)]
)
def test_what_is_too_large_to_be_read_whole(body, stream):
    scene = Scene("version: 1\nbodyLimit: 10")
    assert scene.engine.too_large(scene.request("POST", "/v1/chat/completions", body)).status == 413
    assert (scene.call.streaming, scene.call.blocked) == (stream, "too_large")
    scene.engine.too_large(scene.request("POST", "/api/chat", b'{"mess'))
    assert scene.call.streaming


def test_an_answer_that_cannot_be_read(api):
    scene = Scene("version: 1\nonBlock: {form: answer}")
    reply = scene.decide("POST", api.target, api.request("hi", "t")).unreadable("the server failed: it is too large")
    assert (reply.status, kind_of(reply), dict(reply.headers)["x-should-retry"]) == (502, "application/json", "false")
    assert "error" in json.loads(reply.body)
    assert b"kube-gateway says no: the server failed: it is too large" in reply.body


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_the_gateway(api, stream, monkeypatch):
    monkeypatch.setattr("kube_gateway.ai.engine.decide_size", None)
    reply = refused(api, RULES["too_large"], stream=stream, head="onBlock: {form: answer}")
    assert (reply.status, kind_of(reply)) == (500, "application/json")
