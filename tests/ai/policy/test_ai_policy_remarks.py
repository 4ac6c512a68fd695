"""What `lint` remarks on, and what `explain` says."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kube_gateway.ai.dialects import endpoints
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.explain import explain, named
from kube_gateway.ai.policy.lint import lint
from kube_gateway.ai.policy.read import PolicyError, read_policy
from kube_gateway.ai.policy.tool_rules import ascii_boundaries
from kube_gateway.ai.recorded import Recorded
from kube_gateway.ai.rehearsal import Rehearsal

GOLDEN = Path(__file__).parent / "golden"

REMARKS = {
    "a deny before it": (
        "- {kind: model, name: a, match: '*', deny: true}\n- {kind: model, name: b, match: 'gpt*', to: x}",
        ["rules[1]: never acts: rules[0] (a) has decided by then"],
    ),
    "a rename before it": (
        "- {kind: model, name: a, match: 'gpt-*', to: x}\n- {kind: model, name: b, match: gpt-4, to: y}",
        ["rules[1]: never acts: rules[0] (a) has decided by then"],
    ),
    "but not one for other calls, or that only counts": (
        "- {kind: model, name: a, match: '*', to: x, when: {endpoints: [chat]}}\n"
        "- {kind: model, name: s, match: '*', deny: true, mode: shadow}\n"
        "- {kind: model, name: b, match: gpt-4, to: y}",
        [],
    ),
    "a rename leaves its new name to those behind it": (
        "- {kind: model, name: a, match: '*', to: b1}\n- {kind: model, name: b, match: 'b*', to: c}",
        [],
    ),
    "nor does it decide what is denied": (
        "- {kind: model, name: a, match: '*', to: x}\n- {kind: model, name: b, match: 'b*', deny: true}",
        [],
    ),
    "another rename may lead back to it": (
        "- {kind: model, name: a, match: 'gpt-4*', deny: true}\n"
        "- {kind: model, name: o, match: old, to: gpt-4o}\n"
        "- {kind: model, name: b, match: gpt-4o, to: y}",
        [],
    ),
    "what a regular expression makes may be anything": (
        "- {kind: model, name: a, regex: '(.*)-x', to: $1}\n- {kind: model, name: b, regex: '(.*)-x', to: y}",
        [],
    ),
    "a chain is no mistake": (
        "- {kind: model, name: a, match: 'a*', to: b}\n- {kind: model, name: b, match: b, to: c}",
        [],
    ),
    "tools that are decided on": (
        "- {kind: tools, name: a, tools: ['*'], action: allow}\n- {kind: tools, name: b, tools: [shell]}",
        ["rules[1]: never acts: rules[0] (a) has decided by then"],
    ),
    "everything is refused": (
        "- {kind: endpoints, name: a, endpoints: ['*']}\n- {kind: limit, name: l, maxTokens: 5}",
        ["rules[1]: never acts: rules[0] (a) refuses all these calls"],
    ),
    "a larger limit": (
        "- {kind: limit, name: a, maxTokens: 5}\n- {kind: limit, name: b, maxTokens: 50, when: {models: [x]}}",
        ["rules[1]: never acts: rules[0] (a) has made it 5 by then"],
    ),
    "twins": (
        "- {kind: words, name: a, words: [x], lanes: [user], mode: shadow}\n"
        "- {kind: words, name: b, words: [x], lanes: [user]}\n",
        ["rules[1]: rules[0] (a) is the same, in mode shadow"],
    ),
    "lanes and kinds of calls that are not there": (
        "- {kind: words, name: a, words: [x], lanes: [developer], when: {endpoints: [ollama]}}\n"
        "- {kind: endpoints, name: b, endpoints: [ollama/pul]}\n"
        "- {kind: words, name: c, words: [x], lanes: [reasoning], when: {endpoints: [anthropic]}}\n",
        [
            "rules[0].lanes: none of the calls that it applies to has text in the lane 'developer'",
            "rules[1].endpoints[0]: 'ollama/pul' names no kind of call",
            "rules[2].lanes: the text in the lane 'reasoning' is signed, and stays as it is",
        ],
    ),
    "words in words": (
        "- {kind: words, name: a, words: [banana, ban, Ban], lanes: [user], wholeWords: false}\n"
        "- {kind: words, name: b, words: [banana, ban], lanes: [user]}\n",
        [
            "rules[0].words[2]: 'Ban' is there already, as words[1]",
            "rules[0].words[0]: 'banana' has 'ban' (words[1]) in it, which is enough to match",
        ],
    ),
    "numbers that mean little": (
        "- {kind: size, name: a, maxBytes: 65MiB}\n- {kind: budget, name: b, tokens: 1000, window: 1d}",
        [
            "rules[0].maxBytes: never acts: bodyLimit refuses bodies beyond 64MiB before",
            "rules[1].reserve: a call without a limit of its own reserves 4096 of 1000 tokens: all there is",
        ],
    ),
    "a slow pattern": (
        "- {kind: regex, name: a, patterns: ['.*x'], lanes: [user]}",
        ["rules[0]: it begins with a repetition without a bound"],
    ),
    "a lazy repetition": (
        "- {kind: regex, name: a, patterns: ['<a>.*?</a>', '<a>[^<]*</a>'], lanes: [user]}",
        ["rules[0]: a lazy repetition (as .*?) ends no sooner than another, as the longest match counts"],
    ),
}


@pytest.mark.parametrize("name", REMARKS)
def test_remark(name):
    rules, expected = REMARKS[name]
    found = [
        f"{one.at}: {one.message}" for one in lint(read_policy(f"version: 1\nrules:\n{rules}"), served=endpoints())
    ]
    assert len(found) == len(expected), found
    for said, wanted in zip(found, expected, strict=True):
        assert said.startswith(wanted)


def test_ten_thousand_words_are_looked_at_in_no_time():
    words = ", ".join(f"word{number}" for number in range(10_000))
    policy = read_policy(f"version: 1\nrules: [{{kind: words, name: w, words: [{words}], lanes: [user]}}]")
    assert lint(policy, served=endpoints()) == []


COMPILING = [
    ("{kind: regex, name: a, patterns: [x, '(?=x)'], lanes: [user]}", "rules[0].patterns[1]: look-around"),
    ("{kind: replace, name: a, regex: '(x', with: y}", "rules[0].regex: unclosed group"),
    ("{kind: replace, name: a, regex: '(x)', with: $2}", "rules[0].regex: the pattern has no group"),
    ("{kind: model, name: a, regex: '[', to: y}", "rules[0].regex: unclosed character class"),
    ("{kind: detect, name: a, detectors: [email, mail], lanes: [user]}", "rules[0].detectors[1]: 'mail' is not known"),
    ("{kind: hook, name: a, entryPoint: nobody}", "rules[0].entryPoint: there is no hook 'nobody'"),
    (
        "{kind: tools, name: a, tools: [x], action: allow, arguments: [{path: q, deny: x}, {path: q, allow: '('}]}",
        "rules[0].arguments[1]: ",
    ),
]


@pytest.mark.parametrize(("rule", "message"), COMPILING)
def test_what_does_not_compile_is_told_with_its_field(rule, message):
    policy = read_policy(f"version: 1\nrules: [{rule}]")
    with pytest.raises(PolicyError) as raised:
        Snapshot(policy, model="", served=endpoints())
    assert raised.value.message.startswith(message)


def test_every_kind_of_rule_is_explained():
    policy = read_policy((GOLDEN / "every-kind.yaml").read_text())
    told = "".join(
        f"{step.title}\n" + "".join(f"  {sentence}\n" for sentence in step.sentences) for step in explain(policy)
    )
    assert told == (GOLDEN / "every-kind.explained.txt").read_text()


ANY = "{kind: limit, name: l, maxTokens: 5}"
OF_OLLAMA = "{kind: limit, name: l, maxTokens: 5, when: {endpoints: [ollama]}}"
ENDPOINTS = "{kind: endpoints, name: e, endpoints: [manage]}"


@pytest.mark.parametrize(
    ("rules", "path", "said", "blocked"),
    [
        ("", "/v1/chat/completions", "passes unread", False),
        (ENDPOINTS, "/v1/chat/completions", "passes unread", False),
        (ANY, "/v1/chat/completions", "is refused", True),
        (OF_OLLAMA, "/v1/chat/completions", "is refused in calls of ollama, and passes unread in others", False),
        (OF_OLLAMA, "/api/chat", "is refused in calls of ollama, and passes unread in others", True),
    ],
)
def test_what_becomes_of_a_body_that_is_no_json_is_explained_as_it_is(rules, path, said, blocked):
    policy = read_policy(f"version: 1\nrules: [{rules}]")
    (body,) = [step for step in explain(policy) if step.title == "body"]
    assert body.sentences[1] == f"a body that is no JSON {said}"
    done = Rehearsal(policy).run(Recorded(path=path, body="no JSON"))
    assert (done.result == "blocked") is blocked


@pytest.mark.parametrize(
    ("model", "told"), [("llama3", True), ("llama3:latest", True), ("LLAMA3", True), ("llama4", False)]
)
def test_rules_for_a_model_are_shown_by_each_of_its_names(model, told):
    rule = "{kind: size, name: s, maxBytes: 1KiB, when: {models: ['llama3:latest']}}"
    steps = explain(read_policy(f"version: 1\nrules: [{rule}]"), model=model)
    assert ("size" in {step.title for step in steps}) == told


@pytest.mark.parametrize(
    ("model", "sentence", "denied"),
    [
        ("gpt-4o", "gpt-4o: rule cheap sends it to gemma2:2b", False),
        ("gpt-3.5", "gpt-3.5: rule old refuses it", True),
        ("mistral", "mistral: is sent as it is", False),
        ("try-me", "try-me: rule trial counts it", False),
    ],
)
def test_the_way_of_a_name(model, sentence, denied):
    policy = read_policy((GOLDEN / "every-kind.yaml").read_text())
    installed = msgspec.structs.replace(policy, rules=tuple(rule for rule in policy.rules if rule.name != "ours"))
    snapshot = Snapshot(installed, model="", served=endpoints())
    way = named(snapshot, model)
    assert (way.sentence, way.denied) == (sentence, denied)


@pytest.mark.parametrize(
    ("regex", "native"),
    [
        (r"(?i)\bdrop\b", r"(?i)(?-u:\b)drop(?-u:\b)"),
        (r"\\b\B", r"\\b(?-u:\B)"),
        (r"[\]b]\b{start}x", r"[\]b](?-u:\b{start})x"),
        (r"\d\w\\", r"\d\w\\"),
    ],
)
def test_word_boundaries_in_arguments_of_tools_are_ascii_ones(regex, native):
    assert ascii_boundaries(regex) == native
    rule = f"{{kind: tools, name: a, tools: [x], action: allow, arguments: [{{path: q, deny: '{regex}'}}]}}"
    Snapshot(read_policy(f"version: 1\nrules: [{rule}]"), model="", served=endpoints())
