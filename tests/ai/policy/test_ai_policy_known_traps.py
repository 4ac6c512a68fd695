"""Traps that other gateways are known to have fallen into, as far as decisions on requests are about them."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from policy_dialects import APIS
from policy_scenes import HASH_KEY, Scene, end

from kube_gateway.ai.dialects import endpoints
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.read import read_policy


@pytest.mark.parametrize("name", APIS)
def test_definitions_of_tools_are_no_prompt(name):
    """A scanner that reads schemas as prompts finds all sorts of things in them."""
    api = APIS[name]
    scene = Scene(
        "version: 1\nrules: [{kind: words, name: w, words: [shell, object, type], lanes: [prompt], action: deny}]"
    )
    assert scene.decide("POST", api.target, api.request("hi", "shell")).reply is None


def test_calls_side_by_side_cannot_spend_the_same_budget_twice():
    scene = Scene("version: 1\nrules: [{kind: budget, name: b, tokens: 1000, window: 1d}]")
    body = {"messages": [], "max_tokens": 100}
    with ThreadPoolExecutor(16) as pool:
        decisions = list(pool.map(lambda _: scene.chat(body), range(64)))
    passed = [decision for decision in decisions if decision.reply is None]
    assert len(passed) == 10
    assert {decision.reply.status for decision in decisions if decision.reply is not None} == {429}
    for decision in passed:
        end(decision, {"usage": {"input": 0, "output": 50}})
    assert [(count.used, count.reserved) for count in scene.ledger.counts()] == [(500, 0)]


@pytest.mark.parametrize("options", [{"num_predict": 0}, {"num_predict": -1}, {"num_predict": -2}, {"NUM_PREDICT": 1}])
def test_calls_side_by_side_cannot_pass_a_budget_as_endless_ones(options):
    """Ollama takes what is not above zero for no limit, and the names of its options as they are written."""
    scene = Scene("version: 1\nrules: [{kind: budget, name: b, tokens: 5000, window: 1d}]")
    body = {"messages": [], "options": options, "stream": False}
    with ThreadPoolExecutor(16) as pool:
        decisions = list(pool.map(lambda _: scene.decide("POST", "/api/chat", body), range(200)))
    sent = [json.loads(decision.body)["options"]["num_predict"] for decision in decisions if decision.reply is None]
    assert sorted(sent) == [904, 4096]


SCHEMA = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(1500)}}


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/v1/chat/completions", {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]}),
        ("/v1/chat/completions", {"functions": [{"name": "f", "parameters": SCHEMA}]}),
        ("/v1/chat/completions", {"response_format": {"json_schema": {"schema": SCHEMA}}}),
        ("/v1/responses", {"text": {"format": {"schema": SCHEMA}}}),
        ("/v1/messages", {"tools": [{"name": "f", "input_schema": SCHEMA}]}),
        ("/api/chat", {"tools": [{"function": {"name": "f", "parameters": SCHEMA}}]}),
        ("/v1beta/models/g:generateContent", {"tools": {"function_declarations": {"name": "f", "parameters": SCHEMA}}}),
        ("/v1/embeddings", {"input": list(range(80_000))}),
        ("/v1/embeddings", {"input": [[number] for number in range(80_000)]}),
        ("/v1/completions", {"prompt": list(range(80_000))}),
    ],
)
def test_what_is_no_text_and_yet_read_by_the_model_counts(target, body):
    scene = Scene("version: 1\nrules: [{kind: budget, name: b, tokens: 2000, window: 1d}]")
    assert scene.decide("POST", target, body).reply.status == 429


@pytest.mark.parametrize("lanes", ["prompt", "tool_definition"])
def test_a_definition_counts_once(lanes):
    rule = f"{{kind: words, name: w, words: [x], lanes: [{lanes}]}}"
    scene = Scene(f"version: 1\nrules: [{{kind: budget, name: b, tokens: 2000, window: 1d, counts: input}}, {rule}]")
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 400}}]
    assert scene.chat({"tools": tools}).reply is None
    assert [count.reserved for count in scene.ledger.counts()] == [-(-len(json.dumps(tools)) // 4)]


def test_placeholders_are_the_same_in_every_turn_and_for_every_policy():
    rule = "{kind: detect, name: d, detectors: [email], lanes: [prompt], replacement: '<{detector} {hash}>'}"
    turns = [{"role": "user", "content": "to a@b.co, not c@d.co"}, {"role": "assistant", "content": "a@b.co it is"}]
    first = Scene(f"version: 1\nrules: [{rule}]").sent("POST", "/v1/chat/completions", {"messages": turns[:1]})
    again = Scene(f"version: 1\ndescription: other\nrules: [{rule}]").sent("POST", "/api/chat", {"messages": turns})
    placeholder = first["messages"][0]["content"].split(",")[0].removeprefix("to ")
    assert placeholder.startswith("<email ")
    assert again["messages"][0] == first["messages"][0]
    assert again["messages"][1]["content"] == f"{placeholder} it is"
    assert first["messages"][0]["content"].count(placeholder) == 1
    assert HASH_KEY.hex() not in json.dumps(first)


def test_clients_do_not_try_a_refusal_again():
    """Those of OpenAI and Anthropic try 408, 409, 429 and 5xx again on their own."""
    scene = Scene(
        "version: 1\nrules:\n"
        "- {kind: rate, name: r, requests: 1, when: {models: [a]}}\n"
        "- {kind: model, name: m, match: b, deny: true}\n"
        "- {kind: size, name: s, maxBytes: 100}\n"
    )
    bodies = ['{"model":"a"}', '{"model":"a"}', '{"model":"b"}', "{", json.dumps({"model": "c", "x": "x" * 100})]
    replies = [
        scene.decide("POST", api, body).reply for api in ("/v1/chat/completions", "/v1/messages") for body in bodies
    ]
    refused = [reply for reply in replies if reply is not None]
    assert [reply.status for reply in refused] == [429, 403, 400, 413, 429, 429, 403, 400, 413]
    assert all(dict(reply.headers)["x-should-retry"] == "false" for reply in refused)


@pytest.mark.parametrize(
    "name", ["me\u017f\u017fage\u017f", r"me\u017f\u017Fages", r"MESSAGE\u0053", "\\u006de\u017fsages"]
)
def test_names_that_servers_fold_to_known_ones_are_known(name):
    """Go takes a long s for an s, and the sign of Kelvin for a k."""
    scene = Scene("version: 1\nrules: [{kind: words, name: w, words: [secret], lanes: [prompt], action: deny}]")
    body = f'{{"model":"m","{name}":[{{"role":"user","content":"secret"}}]}}'
    decision = scene.decide("POST", "/api/chat", body)
    assert decision.reply is not None
    assert decision.reply.status == 403


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/api/chat", "/v1/messages"])
@pytest.mark.parametrize("roles", [("assistant", "user"), ("user", "assistant")])
@pytest.mark.parametrize("lane", ["user", "assistant"])
def test_of_two_roles_both_are_meant(target, roles, lane):
    rule = f"{{kind: words, name: w, words: [secret], lanes: [{lane}], action: deny}}"
    scene = Scene(f"version: 1\nrules: [{rule}]")
    message = f'{{"role":"{roles[0]}","role":"{roles[1]}","content":"secret"}}'
    decision = scene.decide("POST", target, f'{{"model":"m","messages":[{message}]}}')
    assert decision.reply is not None
    assert decision.reply.status == 403


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/v1/responses", "/api/chat", "/v1/messages"])
@pytest.mark.parametrize(
    ("role", "lane", "denied"),
    [
        ("System", "system", True),
        ("SYSTEM", "system", True),
        (r"\u0053ystem", "system", True),
        ("\u017fyste\u006d", "system", True),
        ("System", "user", True),
        ("system", "user", False),
        ("Assistant", "assistant", True),
        ("User", "user", True),
        ("User", "system", False),
    ],
)
def test_a_role_in_another_case_is_that_role_and_an_unknown_one(target, role, lane, denied):
    """Ollama lowers it, and templates of other servers know it in one case only."""
    rule = f"{{kind: words, name: w, words: [secret], lanes: [{lane}], action: deny}}"
    message = f'{{"role":"{role}","content":"secret"}}'
    body = f'{{"model":"m","messages":[{message}],"input":[{message}]}}'
    reply = Scene(f"version: 1\nrules: [{rule}]").decide("POST", target, body).reply
    assert (None if reply is None else reply.status) == (403 if denied else None)


@pytest.mark.parametrize(("target", "role"), [("/v1/chat/completions", "Tool"), ("/api/chat", "TOOL")])
def test_results_of_tools_are_known_in_any_case(target, role):
    scene = Scene("version: 1\nrules: [{kind: words, name: w, words: [secret], lanes: [tool], action: deny}]")
    reply = scene.decide("POST", target, f'{{"model":"m","messages":[{{"role":"{role}","content":"secret"}}]}}').reply
    assert reply is not None


@pytest.mark.parametrize("roles", ['"role":"System"', '"role":"system","role":"user"'])
def test_a_text_of_two_lanes_is_masked_for_both(roles):
    scene = Scene(
        "version: 1\nrules:\n"
        "- {kind: words, name: s, words: [one], lanes: [system]}\n"
        "- {kind: words, name: u, words: [two], lanes: [user]}\n"
    )
    for words, left in (("one two", "*** ***"), ("two", "***"), ("one", "***")):
        body = f'{{"model":"m","messages":[{{{roles},"content":"{words}"}}]}}'
        decision = scene.decide("POST", "/v1/chat/completions", body)
        assert decision.body == body.replace(words, left).encode()


@pytest.mark.parametrize(("count", "status"), [(200_000, None), (300_000, 400)])
def test_a_body_of_many_small_texts_takes_no_memory_without_bound(count, status):
    """Each takes a few bytes in the body and two hundred here."""
    scene = Scene("version: 1\nrules: [{kind: words, name: w, words: [secret], lanes: [prompt]}]")
    body = f'{{"model":"m","messages":[{{"role":"user","content":[{",".join(["1", chr(34) * 2] * (count // 2))}]}}]}}'
    reply = scene.decide("POST", "/v1/chat/completions", body).reply
    assert (None if reply is None else reply.status) == status


@pytest.mark.parametrize("words", ["", "rules: [{kind: words, name: w, words: [x], lanes: [output], action: deny}]"])
@pytest.mark.parametrize("unreadable", ["block", "pass"])
def test_answers_of_any_type_are_read_where_what_cannot_be_read_is_blocked(words, unreadable):
    scene = Scene(f"version: 1\nonUnreadableAnswer: {unreadable}\n{words}")
    kinds = scene.chat({"messages": []}).response.framing_of
    assert kinds.get("*") == ("whole" if words and unreadable == "block" else None)


def test_thousands_of_tools_are_looked_at_in_no_time():
    scene = Scene("version: 1\nrules: [{kind: tools, name: t, tools: ['x*']}]")
    tools = [{"type": "function", "function": {"name": f"{'xy'[number % 2]}{number}"}} for number in range(8000)]
    began = time.process_time()
    sent = scene.sent("POST", "/v1/chat/completions", {"model": "m", "messages": [], "tools": tools})
    assert time.process_time() - began < 3
    assert sent["tools"] == tools[1::2]


@pytest.mark.parametrize("before", ["", '"a\\\\", "b\\"c", '])
def test_a_demand_for_a_tool_that_is_gone_is_gone_too(before):
    scene = Scene("version: 1\nrules: [{kind: tools, name: t, tools: [x]}]")
    choice = f'{{"type": "allowed_tools", "also": [{before}"d"], "function": {{"name": "x"}}}}'
    tools = [{"type": "function", "function": {"name": name}} for name in ("x", "y")]
    body = f'{{"model": "m", "messages": [], "tools": {json.dumps(tools)}, "tool_choice": {choice}}}'
    sent = scene.sent("POST", "/v1/chat/completions", body)
    assert (sent["tools"], "tool_choice" in sent) == (tools[1:], False)


def test_what_is_compiled_for_many_models_is_bounded(monkeypatch):
    monkeypatch.setattr("kube_gateway.ai.policy.compile._MOST_SELECTIONS", 20)
    rules = "\n".join(
        f"- {{kind: words, name: w{bit}, words: [word{bit}], lanes: [user], when: {{models: ['*{bit}*']}}}}"
        for bit in range(7)
    )
    policy = read_policy(f"version: 1\nrules:\n{rules}")
    snapshot = Snapshot(policy, model="", served=endpoints())
    for number in range(128):
        model = "".join(str(bit) for bit in range(7) if number >> bit & 1)
        selection = snapshot.select(0, model=model)
        assert bool(selection.prompt["user"].enforced) if model else not selection.prompt
    assert len(snapshot._selections) <= 20
    assert len(snapshot._patterns) <= 40


def test_a_call_keeps_the_policy_that_it_began_with():
    scene = Scene("version: 1\nrules: [{kind: words, name: w, words: [x], lanes: [output], action: deny}]")
    decision = scene.chat({"messages": []})
    other = Scene("")
    assert other.chat({"messages": []}).response.plan is not decision.response.plan
    assert decision.refuse(b'{"denied": "w"}').status == 403
    assert b"rule w" in decision.refuse(b'{"denied": "w"}').body


def test_a_stream_that_never_told_its_usage_is_not_free():
    scene = Scene("version: 1\nrules: [{kind: budget, name: b, tokens: 1000, window: 1d}]")
    decision = scene.chat({"messages": [{"role": "user", "content": "x" * 38}], "max_tokens": 100})
    end(decision, {"characters": {"output": 40}}, client_gone=True)
    assert (scene.call.usage.input, scene.call.usage.output, scene.call.usage.estimated) == (10, 10, True)
    assert [count.used for count in scene.ledger.counts()] == [20]


@pytest.mark.parametrize(
    ("outcome", "facts", "used"),
    [
        ({}, {"client_gone": True}, 1011),
        ({}, {"upstream_failed": True}, 1011),
        ({"cut": True}, {}, 1011),
        ({"denied": "w"}, {}, 1011),
        ({"failed": True, "done": True}, {}, 1011),
        # These have told the true number.
        ({}, {}, 12),
        ({"done": True}, {"client_gone": True}, 12),
        ({"done": True, "denied": "w"}, {}, 12),
    ],
)
def test_to_leave_a_stream_before_it_tells_its_usage_saves_no_budget(outcome, facts, used):
    """Anthropic tells one token of output at the beginning, and how many there were in the last event but one."""
    scene = Scene(
        "version: 1\nrules:\n"
        "- {kind: budget, name: b, tokens: 5000, window: 1d}\n"
        "- {kind: words, name: w, words: [x], lanes: [output], action: deny}\n"
    )
    decision = scene.decide("POST", "/v1/messages", {"messages": [], "max_tokens": 2000, "stream": True})
    end(decision, {"usage": {"input": 11, "output": 1}, "characters": {"output": 4000}, **outcome}, **facts)
    assert [(count.used, count.reserved) for count in scene.ledger.counts()] == [(used, 0)]
    assert scene.call.usage.estimated is (used > 12)


@pytest.mark.parametrize("one", [False, True])
def test_chats_that_were_kept_are_masked_when_they_are_fetched(one):
    scene = Scene("version: 1\nrules: [{kind: words, name: w, words: [secret], lanes: [answer]}]")
    chat = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "a secret"}}]}
    decision = scene.decide("GET", "/v1/chat/completions" + "/c" * one)
    answer = decision.response
    stream = answer.plan.start(framing=answer.framing_of["application/json"], **answer.start)
    body = json.dumps(chat if one else {"object": "list", "data": [chat, chat]}).encode()
    assert stream.feed(body) + stream.finish() == body.replace(b"secret", b"***")


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/api/chat", b'{"options":{"num_predict":5}' + b',"options":{"num_predict":5}' * 30_000 + b',"options":{}}'),
        ("/v1/chat/completions", b'{"tools":[' + b",".join([b'{"function":{"name":"shell"}}'] * 30_000) + b"]}"),
        ("/v1beta/models/g:generateContent", b'{"tools":[' + b",".join([b'{"shell":{}}'] * 30_000) + b"]}"),
    ],
)
def test_many_of_a_kind_cost_no_more_than_their_number(target, body):
    scene = Scene(
        "version: 1\nrules:\n- {kind: limit, name: l, maxTokens: 9}\n- {kind: tools, name: t, tools: [shell, a]}"
    )
    began = time.process_time()
    decision = scene.decide("POST", target, body)
    assert decision.reply is None
    assert decision.body is not None
    # By each pair of them it would be minutes.
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "rule", ["{kind: tools, name: t, tools: ['*']}", "{kind: words, name: w, words: [x], lanes: [output]}"]
)
def test_an_answer_that_no_rule_is_about_is_not_read(rule):
    """Results of batches are lines, and no document."""
    scene = Scene(f"version: 1\nonUnreadableAnswer: block\nrules: [{rule}]")
    assert scene.decide("GET", "/v1/messages/batches/b1/results").response is None
    assert scene.decide("POST", "/v1/messages", {"max_tokens": 5, "messages": []}).response.start["strict"]


def test_a_limit_that_is_not_sent_is_not_told():
    scene = Scene("version: 1\nrules: [{kind: budget, name: b, tokens: 90000, window: 1d}]")
    for target in ("/v1/responses/compact", "/v1/responses"):
        scene.decide("POST", target, {"input": "x"}).ended(b"{}", {"status": 200, "seconds": 0.1})
    assert [call.limit for call in scene.meters.calls] == [None, 4096]
