"""Every rule in every API: on the request, on an answer in one piece, and on a stream."""

from __future__ import annotations

import json

import pytest
from policy_dialects import APIS, Api
from policy_scenes import Scene, end

from kube_gateway.ai.decide.decision import Decision
from kube_gateway.ai.dialect import Reply

SECRET = "tell bob@example.com about bluebird"


@pytest.fixture(params=APIS)
def api(request) -> Api:
    return APIS[request.param]


def scene(*rules: str, head: str = "") -> Scene:
    return Scene(f"version: 1\n{head}\nrules:\n" + "".join(f"- {{{rule}}}\n" for rule in rules))


def asks(api: Api, trial: Scene, text: str = SECRET, tool: str = "shell", *, stream: bool = False) -> Decision:
    target = api.stream_target if stream and api.stream_target else api.target
    return trial.decide("POST", target, {**api.request(text, tool), **((api.stream or {}) if stream else {})})


def sent(decision: Decision) -> dict:
    assert decision.reply is None, decision.reply
    return json.loads(decision.body)


def answered(api: Api, decision: Decision, body: bytes, *, stream: bool, size: int = 7) -> bytes | Reply:
    """What the client gets, as the native core would give it."""
    kind = api.kind if stream else "application/json"
    plan = decision.response
    filter_ = plan.plan.start(framing=plan.framing_of[kind], **plan.start)
    out = b""
    for begin in range(0, len(body), size):
        out += filter_.feed(body[begin : begin + size])
        if filter_.ended:
            break
    else:
        out += filter_.finish()
    outcome = filter_.outcome()
    end_of_it: bytes | Reply = out
    if filter_.ended:
        end_of_it = out + decision.ending(outcome) if stream else decision.refuse(outcome)
    decision.ended(outcome, {"status": 200, "seconds": 0.1})
    return end_of_it


def test_the_model_is_renamed(api):
    decision = asks(api, scene("kind: model, name: m, match: gpt-4, to: other"))
    if api.renamed_target:
        assert (decision.body, decision.target) == (None, api.renamed_target)
    else:
        assert sent(decision) == {**api.request(SECRET, "shell"), "model": "other"}


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_finds_the_model_that_it_asked_for(api, stream):
    decision = asks(api, scene("kind: model, name: m, match: gpt-4, to: other"), stream=stream)
    body = api.pieces(["hi"]) if stream else json.dumps(api.whole("hi")).encode()
    out = answered(api, decision, body, stream=stream)
    assert b'"other"' not in out
    assert out.replace(b"gpt-4", b"other") == body


def test_the_model_is_denied(api):
    trial = scene("kind: model, name: m, match: 'gpt*', deny: true")
    assert asks(api, trial).reply.status == 403
    assert trial.call.blocked == "model_denied"


def test_the_prompt_is_masked(api):
    decision = asks(api, scene("kind: detect, name: d, detectors: [email], lanes: [user]"))
    assert sent(decision) == api.request("tell [email] about bluebird", "shell")


def test_the_prompt_is_replaced(api):
    decision = asks(api, scene("kind: replace, name: r, literal: bluebird, with: nothing"))
    assert sent(decision) == api.request("tell bob@example.com about nothing", "shell")


def test_the_prompt_is_denied(api):
    trial = scene("kind: words, name: w, words: [Bluebird], lanes: [prompt], action: deny")
    decision = asks(api, trial)
    assert (decision.reply.status, trial.call.rule) == (403, "w")
    assert "bluebird" not in decision.reply.body.decode()


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_can_be_an_answer(api, stream):
    trial = scene(
        "kind: words, name: w, words: [bluebird], lanes: [prompt], action: deny", head="onBlock: {form: answer}"
    )
    reply = asks(api, trial, stream=stream).reply
    assert reply.status == 200
    assert b"kube-gateway says no: the text is not allowed (rule w)" in reply.body
    kind = dict(reply.headers)["content-type"]
    assert kind == (api.kind if stream else "application/json")


def test_the_limit_is_set(api):
    decision = asks(api, scene("kind: limit, name: l, maxTokens: 99"))
    assert api.limit(sent(decision)) == 99


def test_a_tool_is_not_offered(api):
    decision = asks(api, scene("kind: tools, name: t, tools: [shell]"))
    assert "shell" not in decision.body.decode()
    assert asks(api, scene("kind: tools, name: t, tools: [shell, other], request: refuse")).reply.status == 403


def test_the_size_is_bounded(api):
    assert asks(api, scene("kind: size, name: s, maxBytes: 20")).reply.status == 413


def test_the_kind_of_call_is_denied(api):
    assert asks(api, scene("kind: endpoints, name: e, endpoints: [chat]")).reply.status == 403


def test_a_budget_is_used_up(api):
    trial = scene("kind: budget, name: b, tokens: 1, window: 1d")
    assert asks(api, trial).reply.status == 429
    assert dict(asks(api, trial).reply.headers)["x-should-retry"] == "false"


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_an_answer_is_masked(api, size):
    decision = asks(api, scene("kind: words, name: w, words: [bluebird], lanes: [answer]"))
    body = json.dumps(api.whole("the bluebird sings")).encode()
    assert json.loads(answered(api, decision, body, stream=False, size=size)) == api.whole("the *** sings")


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_stream_is_masked_wherever_it_is_cut(api, size):
    trial = scene("kind: words, name: w, words: [bluebird], lanes: [answer]", head="askUsage: false")
    decision = asks(api, trial, stream=True)
    out = answered(api, decision, api.pieces(["the bl", "ueb", "ird si", "ngs"]), stream=True, size=size)
    assert b"***" in out
    for piece in (b"bluebird", b"ueb", b"ird"):
        assert piece not in out
    assert trial.call.matches == {"w": 1}


def test_a_stream_that_no_rule_acts_on_is_the_same_bytes(api):
    trial = scene("kind: words, name: w, words: [nothing], lanes: [answer]", head="askUsage: false")
    body = api.pieces(["the bl", "uebird"])
    assert answered(api, asks(api, trial, stream=True), body, stream=True) == body


def test_an_answer_is_denied(api):
    trial = scene("kind: words, name: w, words: [bluebird], lanes: [answer], action: deny")
    reply = answered(api, asks(api, trial), json.dumps(api.whole("a bluebird")).encode(), stream=False)
    assert (reply.status, trial.call.blocked, trial.call.rule) == (403, "blocked", "w")
    assert b"bluebird" not in reply.body


def test_a_stream_is_denied_with_a_valid_end(api):
    trial = scene("kind: words, name: w, words: [bluebird], lanes: [answer], action: deny")
    out = answered(api, asks(api, trial, stream=True), api.pieces(["so ", "the blue", "bird"]), stream=True)
    assert b"so " in out
    assert b"blue" not in out
    assert (trial.call.blocked, trial.call.rule) == ("blocked", "w")


def test_a_call_of_a_denied_tool_ends_the_answer(api):
    trial = scene("kind: tools, name: t, tools: [shell], request: pass")
    reply = answered(api, asks(api, trial), json.dumps(api.call("shell", {})).encode(), stream=False)
    assert (reply.status, trial.call.blocked) == (403, "tool_denied")
    decision = asks(api, trial)
    body = json.dumps(api.call("other", {})).encode()
    assert answered(api, decision, body, stream=False) == body


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({"query": "select 1", "database": "test-1"}, True),
        ({"query": "select dropped", "database": "demo"}, True),
        ({"query": "DROP table a", "database": "test-1"}, False),
        ({"query": "select 1", "database": "live"}, False),
        ({"query": "select 1"}, False),
    ],
)
def test_a_call_of_a_tool_is_held_to_conditions(api, arguments, allowed):
    trial = scene(
        "kind: tools, name: sql, tools: [run_sql], action: allow, arguments: [{path: query, deny: '(?i)\\bdrop\\b'}, "
        "{path: database, allow: ^test}, {path: database, allow: ^demo}]",
        "kind: tools, name: rest, tools: ['*']",
    )
    decision = asks(api, trial, tool="run_sql")
    assert decision.body is None
    body = json.dumps(api.call("run_sql", arguments)).encode()
    out = answered(api, decision, body, stream=False)
    if allowed:
        assert out == body
    else:
        assert (out.status, trial.call.rule, trial.call.blocked) == (403, "sql", "tool_denied")


PAID = {"card": 4111111111111111, "others": [{"card": "4111111111111111"}, -1.50, 4111111111111112], "ok": True}
MASKED = {"card": "[card]", "others": [{"card": "[card]"}, -1.50, 4111111111111112], "ok": True}


def test_numbers_in_arguments_of_tools_are_masked(api):
    trial = scene("kind: detect, name: d, detectors: [card], lanes: [tool_arguments]")
    body = json.dumps(api.call("pay", PAID)).encode()
    out = answered(api, asks(api, trial), body, stream=False)
    assert json.loads(out) == api.call("pay", MASKED)
    assert b"-1.5" in out
    assert trial.call.matches == {"d": 2}


def test_a_number_in_arguments_of_tools_can_be_denied(api):
    trial = scene("kind: detect, name: d, detectors: [card], lanes: [tool_arguments], action: deny")
    reply = answered(
        api, asks(api, trial), json.dumps(api.call("pay", {"card": 4111111111111111})).encode(), stream=False
    )
    assert (reply.status, trial.call.rule) == (403, "d")


@pytest.mark.parametrize(
    ("target", "around"),
    [
        ("/api/chat", {"role": "assistant", "tool_calls": [{"function": {"name": "pay", "arguments": PAID}}]}),
        ("/v1/messages", {"role": "assistant", "content": [{"type": "tool_use", "name": "pay", "input": PAID}]}),
    ],
)
def test_numbers_in_arguments_that_are_sent_along_are_masked(target, around):
    trial = scene("kind: detect, name: d, detectors: [card], lanes: [tool_arguments]")
    decision = trial.decide("POST", target, {"model": "m", "messages": [around]})
    assert sent(decision) == json.loads(
        json.dumps({"model": "m", "messages": [around]}).replace(json.dumps(PAID), json.dumps(MASKED))
    )


def test_a_server_that_does_not_stream_though_asked_to_does_not_get_past_the_rules(api):
    trial = scene("kind: words, name: w, words: [bluebird], lanes: [answer]", head="askUsage: false")
    decision = asks(api, trial, stream=True)
    body = json.dumps(api.whole("the bluebird sings")).encode()
    framing = decision.response.framing_of["application/json"]
    filter_ = decision.response.plan.start(framing=framing, **decision.response.start)
    out = filter_.feed(body) + filter_.finish()
    assert b"bluebird" not in out


def test_a_server_that_streams_unasked_does_not_either(api):
    trial = scene("kind: words, name: w, words: [bluebird], lanes: [answer]")
    decision = asks(api, trial)
    filter_ = decision.response.plan.start(framing=decision.response.framing_of[api.kind], **decision.response.start)
    assert b"bird" not in filter_.feed(api.pieces(["the blue", "bird"])) + filter_.finish()


def test_in_shadow_mode_an_answer_stays_and_is_counted(api):
    trial = scene(
        "kind: words, name: w, words: [bluebird], lanes: [answer], action: deny, mode: shadow", head="askUsage: false"
    )
    decision = asks(api, trial, stream=True)
    assert not decision.response.edits
    body = api.pieces(["the blue", "bird"])
    assert answered(api, decision, body, stream=True) == body
    assert trial.call.shadow_matches == {"w": 1}


def test_what_is_told_of_a_call(api):
    trial = scene("kind: budget, name: b, tokens: 100000, window: 1d, mode: shadow")
    decision = asks(api, trial)
    end(decision, {"usage": {"input": 5, "output": 6}})
    assert (trial.call.requested_model, trial.call.usage.output) == ("gpt-4", 6)
