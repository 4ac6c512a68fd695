"""What happens when the gateway itself fails at a call, and what is told of it."""

from __future__ import annotations

import logging

import pytest
from policy_scenes import Scene, end

from kube_gateway.ai import engine as engine_module
from kube_gateway.ai.decide import decision as decision_module

RULE = "version: 1\nrules: [{kind: budget, name: b, tokens: 1000, window: 1d}]"
SHADOW = "version: 1\nrules: [{kind: budget, name: b, tokens: 1000, window: 1d, mode: shadow}]"
BODY = {"model": "m", "messages": [{"role": "user", "content": "my secret words"}]}


@pytest.fixture
def broken(monkeypatch):
    """The last step of a decision fails, after everything was reserved."""

    def fail(*_arguments, **_keywords):
        raise RuntimeError("my secret words")

    monkeypatch.setattr(engine_module, "write_prompts", fail)


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    ("text", "passes"),
    [
        (RULE, False),
        (SHADOW, True),
        ("", True),
        (f"{RULE}\nonFailure: pass", True),
        (f"{SHADOW}\nonFailure: block", False),
    ],
)
def test_a_failure_blocks_where_a_rule_is_in_force(text, passes, caplog):
    scene = Scene(text)
    decision = scene.chat(BODY)
    if passes:
        assert (decision.reply, decision.body, decision.response) == (None, None, None)
        end(decision)
    else:
        assert decision.reply.status == 500
        assert ("x-should-retry", "false") in decision.reply.headers
        assert scene.call.blocked == "policy_failed"
    assert "connection 7: deciding on its request failed: RuntimeError in " in caplog.text
    assert "secret" not in caplog.text
    assert len(scene.meters.calls) == 1
    assert [count.reserved for count in scene.ledger.counts()] in ([], [0])


def test_a_call_is_told_once_and_settled_once():
    scene = Scene(RULE)
    decision = scene.chat({"messages": []})
    end(decision, {"usage": {"input": 5, "output": 6}})
    end(decision, {"usage": {"input": 500, "output": 600}})
    assert len(scene.meters.calls) == 1
    assert [(count.used, count.reserved) for count in scene.ledger.counts()] == [(11, 0)]


def test_a_refused_call_has_ended_already():
    scene = Scene("version: 1\nrules: [{kind: endpoints, name: e, endpoints: [chat]}]")
    decision = scene.chat(BODY)
    end(decision)
    assert [(call.status, call.blocked, call.rule) for call in scene.meters.calls] == [(403, "endpoint_denied", "e")]


def test_an_outcome_that_cannot_be_read_settles_nevertheless(caplog):
    scene = Scene(RULE)
    decision = scene.chat({"messages": []})
    decision.ended(b"{nonsense", {"status": 200, "seconds": 0.1})
    assert "its end failed" in caplog.text
    assert [(count.used, count.reserved) for count in scene.ledger.counts()] == [(0, 0)] or scene.ledger.counts() == ()


def test_refusing_and_ending_never_raise(caplog, monkeypatch):
    scene = Scene(RULE)
    decision = scene.chat({"messages": []})
    assert decision.refuse(b"{nonsense").status == 500
    assert decision.ending(b"{nonsense") == b""
    assert caplog.text.count("failed: DecodeError") == 2
    monkeypatch.setattr(decision_module, "reply_to", None)
    assert decision.refuse(b'{"denied": "b"}').status == 500


def test_a_call_that_failed_upstream_uses_no_tokens_but_counts_as_a_request():
    scene = Scene("version: 1\nrules: [{kind: rate, name: r, requests: 5, tokens: 100000}]")
    decision = scene.chat(BODY)
    end(decision, {}, status=404)
    assert [(count.used, count.reserved, count.made) for count in scene.ledger.counts()] == [(0, 0, 1)]
    assert scene.call.usage is None


@pytest.mark.parametrize(
    ("facts", "used", "made"),
    [
        ({"upstream_failed": True, "sent": True}, 0, 1),
        ({"client_gone": True, "sent": False}, 0, 0),
        ({"client_gone": True, "sent": True}, 2, 1),
        ({"upstream_failed": True, "sent": True, "seconds_to_first_byte": 0.1}, 2, 1),
    ],
)
def test_a_call_that_nobody_has_answered_uses_no_tokens(facts, used, made):
    scene = Scene("version: 1\nrules: [{kind: rate, name: r, requests: 5, tokens: 100000}]")
    decision = scene.chat({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
    end(decision, {}, status=0, response_bytes=0, **facts)
    assert [(count.used, count.reserved, count.made) for count in scene.ledger.counts()] == [(used, 0, made)]
    assert (scene.call.usage is None) is (used == 0)


def test_a_refusal_after_a_reservation_gives_it_back():
    scene = Scene(
        "version: 1\nrules:\n- {kind: rate, name: r, requests: 5}\n- {kind: budget, name: b, tokens: 1, window: 1d}"
    )
    assert scene.chat(BODY).reply.status == 429
    assert [count.made for count in scene.ledger.counts() if count.rule == "r"] in ([], [0])


def test_uploads_are_decided_on_before_their_data_has_come():
    scene = Scene("version: 1\nrules: [{kind: endpoints, name: e, endpoints: [manage]}]")
    blob = scene.request("POST", "/api/blobs/sha256:ab", b"")
    assert blob.endpoint in scene.engine.by_head
    assert scene.engine.decide(blob).reply.status == 403
    for method, target in (("POST", "/api/chat"), ("POST", "/v1/messages"), ("DELETE", "/api/delete")):
        assert scene.request(method, target).endpoint not in scene.engine.by_head


def test_too_large_a_body():
    scene = Scene("version: 1\nbodyLimit: 1KiB")
    assert scene.engine.body_limit == 1024
    reply = scene.engine.too_large(scene.request("POST", "/v1/messages", b'{"model":"m","messages":[{"role'))
    assert reply.status == 413
    assert b"more than 1024 bytes" in reply.body
    assert [(call.blocked, call.status) for call in scene.meters.calls] == [("too_large", 413)]


def test_what_is_logged_holds_no_content(caplog):
    caplog.set_level(logging.INFO)
    scene = Scene(
        "version: 1\ndebug: {requests: true, responses: true}\n"
        "rules: [{kind: words, name: w, words: [secret], lanes: [prompt]}]",
        model="gemma2:2b",
    )
    decision = scene.decide("POST", "/v1/chat/completions?key=abc", {**BODY, "model": "a\nb"})
    end(decision, {"matches": {"w": 2}})
    assert caplog.messages == [
        "connection 7: POST /v1/chat/completions: model 'a\\nb' -> gemma2:2b (annotation ai-model); "
        "1 changed in the prompt (rule w)",
        "connection 7: changed in the answer: 2 by rule w",
    ]


def test_the_account_of_a_call():
    scene = Scene("version: 1\naudit: {content: full}", model="other")
    decision = scene.decide(
        "POST", "/v1/chat/completions?key=abc", {**BODY, "stream": True}, headers=(("authorization", "Bearer x"),)
    )
    assert decision.response.start["collect"] > 0
    end(
        decision,
        {
            "usage": {"input": 5, "output": 6},
            "model": "other",
            "events": 3,
            "finish": ["stop"],
            "captured": {"id": "chatcmpl-1"},
            "texts": {"output": "hello"},
        },
        seconds_to_first_byte=0.1,
        overhead_seconds=0.001,
        request_bytes=100,
    )
    call = scene.call
    assert (call.dialect, call.provider, call.endpoint) == ("openai_chat", "openai", "chat_completions")
    assert (call.requested_model, call.model, call.response_model) == ("m", "other", "other")
    assert (call.target, call.destination, call.connection) == ("/v1/chat/completions", "10.0.0.9:80", 7)
    assert (call.usage.input, call.usage.output, call.usage.estimated) == (5, 6, False)
    assert call.edits == ("model", "usage")
    assert [(text.lane, text.text) for text in call.texts] == [("user", "my secret words"), ("output", "hello")]
    assert (call.streaming, call.events, call.finish, call.response_id) == (True, 3, ("stop",), "chatcmpl-1")
    assert (call.policy_revision, call.policy_hash) == (3, "0123456789ab")


@pytest.mark.parametrize(
    ("rules", "asked", "limit"),
    [
        ("", {"max_tokens": 50, "n": 2}, 50),
        ("{kind: limit, name: l, maxTokens: 20, cut: true}", {"max_tokens": 50, "n": 2}, 20),
        ("{kind: budget, name: b, tokens: 100, window: 1d, counts: output}", {"n": 4, "stream": True}, 25),
        ("", {}, None),
    ],
)
def test_the_account_has_the_limit_that_was_sent(rules, asked, limit):
    scene = Scene(f"version: 1\nrules: [{rules}]")
    end(scene.chat({**BODY, **asked}), {}, seconds_to_first_chunk=0.3)
    assert (scene.call.limit, scene.call.first_chunk) == (limit, 0.3)


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([PARENT], PARENT),
        ([PARENT, PARENT], ""),
        ([PARENT + "-x"], ""),
        ([PARENT.upper()], ""),
        (["00-" + "0" * 32 + PARENT[35:]], ""),
        (["ff" + PARENT[2:]], ""),
        ([], ""),
    ],
)
def test_the_account_has_the_trace_that_the_request_names(values, told):
    scene = Scene()
    end(scene.chat(BODY, headers=tuple(("Traceparent", value) for value in values)), {})
    assert scene.call.traceparent == told


def test_texts_are_kept_only_by_choice():
    scene = Scene()
    decision = scene.chat(BODY)
    assert "collect" not in decision.response.start
    end(decision, {})
    assert scene.call.texts == ()


def test_an_exhausted_rate_says_when_to_come_back():
    scene = Scene("version: 1\nrules: [{kind: rate, name: r, requests: 1}]")
    scene.chat(BODY)
    headers = dict(scene.chat(BODY).reply.headers)
    assert 1 <= int(headers["retry-after"]) <= 61


def test_the_model_of_the_annotation_is_held_to_the_policy():
    rules = (
        "- {kind: model, name: ours, match: 'llama*', allow: true}\n- {kind: model, name: no, match: '*', deny: true}"
    )
    assert (
        Scene(f"version: 1\nrules:\n{rules}", model="llama3").chat({"model": "llama2"}).body == b'{"model": "llama3"}'
    )
    scene = Scene(f"version: 1\nrules:\n{rules}", model="other")
    assert scene.chat({"model": "llama2"}).reply.status == 403
    assert (scene.call.rule, scene.call.blocked) == ("no", "model_denied")
