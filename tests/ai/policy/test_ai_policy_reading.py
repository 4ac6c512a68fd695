"""How policies are read: what is taken, and how what is wrong is told."""

from __future__ import annotations

import json

import msgspec
import pytest

from kube_gateway.ai.policy.read import PolicyError, read_policy, read_with_remarks
from kube_gateway.ai.policy.schema import EMPTY, Policy, json_schema

ERRORS = [
    ("rules: []", "version: it is missing"),
    ("version: 2", "version: 2 is not known here; it is one of 1"),
    ("version: '1'", "version: expected int, got str"),
    ("- 3", "a policy is an object with members, and this is a list"),
    ("nonsense", "a policy is an object with members, and this is text"),
    ("version: 1\nrule: []", "rule: no such field, did you mean rules?"),
    ("version: 1\nbodyLimit: 3 MBs", "bodyLimit: '3 MBs' is not a size like 512KiB or 64MiB"),
    ("version: 1\nbodyLimit: 0", "bodyLimit: 0 is not more than 0"),
    ("version: 1\nonBlock: {form: errors}", "onBlock.form: 'errors' is not known here; it is one of answer, error"),
    ("version: 1\nmetrics: {otlpEndpoint: x}", "metrics.otlpEndpoint: 'x' is no address like http://collector:4318"),
    ("version: 1\nrules: [{kind: x, name: a}]", "rules[0].kind: 'x' is not known here; it is one of budget, "),
    ("version: 1\nrules: [{name: a}]", "rules[0].kind: it is missing"),
    ("version: 1\nrules: [{kind: limit, name: a}]", "rules[0].maxTokens: it is missing"),
    ("version: 1\nrules: [{kind: limit, name: a, maxTokens: -1}]", "rules[0].maxTokens: expected int >= 1"),
    ("version: 1\nrules: [{kind: limit, name: a, maxTokens: many}]", "rules[0].maxTokens: expected int, got str"),
    ("version: 1\nrules: [{kind: limit, name: a, maxToken: 1}]", "rules[0].maxToken: no such field, did you mean max"),
    ("version: 1\nrules: [{kind: limit, name: 'a b', maxTokens: 1}]", "rules[0].name: 'a b' is no name: use letters"),
    (
        "version: 1\nrules:\n- {kind: limit, name: a, maxTokens: 1}\n- {kind: limit, name: a, maxTokens: 2}",
        "rules[1].name: 'a' is the name of rules[0] already",
    ),
    (
        "version: 1\nrules: [{kind: model, name: a, match: x, regex: y, to: z}]",
        "rules[0]: it takes one of match and regex, and there are match and regex",
    ),
    (
        "version: 1\nrules: [{kind: model, name: a, match: x}]",
        "rules[0]: it takes one of to, deny and allow, and there is none of them",
    ),
    ("version: 1\nrules: [{kind: size, name: a}]", "rules[0]: it takes maxBytes or maxMessages"),
    (
        "version: 1\nrules: [{kind: words, name: a, words: [x], lanes: [input]}]",
        "rules[0].lanes[0]: 'input' is not known here; it is one of assistant, ",
    ),
    (
        "version: 1\nrules: [{kind: words, name: a, words: [], lanes: [user]}]",
        "rules[0].words: expected array of length",
    ),
    (
        "version: 1\nrules: [{kind: budget, name: a, tokens: 1, window: soon}]",
        "rules[0].window: 'soon' is not a length of time like 500ms, 90s, 15m, 1h or 1d",
    ),
    (
        "version: 1\nrules: [{kind: tools, name: a, tools: [x], arguments: [{path: q, deny: x}]}]",
        "rules[0].arguments: they are conditions of a tool that is allowed; add action: allow",
    ),
    ("a: &x [1]\nb: *x", "line 1, column 4: anchors and aliases are not read"),
    ("a: 1\na: 2", "line 2, column 1: a: the member is there twice"),
    ('{"a": 1, "a": 2}', "a: the member is there twice"),
    ('{"a": NaN}', "the policy is no JSON: NaN is no number"),
    ('{"a": 1,', "the policy is no JSON: Expecting property name enclosed in double quotes (line 1, column 9)"),
    ("a: [1", "the policy is no YAML: did not find expected ',' or ']' (line 2, column 1)"),
    ("a: !!python/object:os.system 1", "line 1, column 4: the tag tag:yaml.org,2002:python/object:os.system is not"),
    ("version: 1\n---\nversion: 1", "line 2, column 1: a second document begins"),
    ("? [a]\n: b", "line 1, column 3: the name of a member is text"),
    ("[" * 5000, "the policy is no YAML"),
    ('{"a":' * 50_000, "the policy is nested more than 32 deep"),
    (
        '{"version": 1,\n  "x": ' + "1" * 4301 + "}",
        "line 2, column 8: a number of 4301 digits, and 400 at most are read",
    ),
    ("version: 1\nx: -" + "1" * 5000, "line 2, column 4: a number of 5001 digits"),
    ('{"a": ' + "[" * 40 + "]" * 40 + "}", "the policy is nested more than 32 deep"),
    ("version: 1\ndescription: \ud83d", "the policy has \\ud83d in a text, which is half of a character"),
    ('{"version": 1, "description": "\\ud83d"}', "the policy has \\ud83d in a text, which is half of a character"),
    ("version: 1\nbodyLimit: 999999999999999GiB", "bodyLimit: '999999999999999GiB' is more than can be counted"),
    ("version: 1\nbodyLimit: '0.5'", "bodyLimit: '0.5' is less than a byte"),
    (
        "version: 1\nrules: [{kind: hook, name: a, entryPoint: a, timeout: 999999999999999d}]",
        "rules[0].timeout: '999999999999999d' is more than a hundred years",
    ),
    ("a: " + "x" * 3_000_000, "the policy has 3000003 characters"),
    ('{"request": {"maxTokens": "5"}}', "request.maxTokens: expected int, got str"),
    ('{"request": {"modelReplace": [{"Orig": "", "New": "b"}]}}', "request.modelReplace[0].Orig: expected str of len"),
    ('{"request": {"modelReplace": [{"New": "b"}]}}', "request.modelReplace[0].Orig: it is missing"),
    ('{"request": 3}', "request: expected object, got int"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_what_is_wrong_is_told_with_its_field(text, message):
    with pytest.raises(PolicyError) as raised:
        read_policy(text)
    assert raised.value.message.startswith(message)
    assert "`" not in raised.value.message


@pytest.mark.parametrize("text", ["", "  \n", "{}", "# nothing\n", "\ufeff"])
def test_nothing_is_an_empty_policy(text):
    assert read_policy(text) == EMPTY


def test_words_that_old_yaml_takes_for_booleans_are_words():
    policy = read_policy("version: 1\nrules: [{kind: words, name: a, words: [no, on, Off, y, 'true'], lanes: [user]}]")
    assert policy.rules[0].words == ("no", "on", "Off", "y", "true")


def test_yaml_and_json_say_the_same():
    text = "version: 0x1\nbodyLimit: 1MiB\nrules:\n- kind: limit\n  name: l\n  maxTokens: 0o17\n  cut: true\n"
    policy = read_policy(text)
    written = '{"version":1,"bodyLimit":"1MiB","rules":[{"kind":"limit","name":"l","maxTokens":15,"cut":true}]}'
    assert read_policy(written) == policy
    assert policy.hash == read_policy(json.dumps(json.loads(written), indent=3)).hash
    assert policy.hash != EMPTY.hash


def test_what_is_read_can_be_written_and_read_again():
    policy = read_policy(
        '{"request": {"modelReplace": [{"Orig": "a*", "New": "b"}]}, "response": {"bannedWords": ["x"]}}'
    )
    assert read_policy(msgspec.json.encode(policy).decode()) == policy


ORIGINAL = """{
  "Request": {
    "debug": true, "BLOCK": false, "maxTokens": 5, "later": 1,
    "modelReplace": [{"Orig": "gpt-4*", "New": "gemma2:2b"}],
    "userPromptReplace": [{"orig": "cat", "New": "dog"}, {"ORIG": "a", "new": ""}],
    "devPromptReplace": null
  },
  "response": {"debug": true, "bannedWords": ["foo", "bar"]}
}"""


def test_the_first_json_becomes_a_policy_of_today():
    policy, remarks = read_with_remarks(ORIGINAL)
    assert remarks == ("Request.later: no such member, it is ignored",)
    assert json.loads(msgspec.json.encode(policy)) == {
        "version": 1,
        "debug": {"requests": True, "responses": True},
        "onBlock": {"form": "answer", "message": "kube-gateway says no"},
        "rules": [
            {"kind": "model", "name": "modelReplace-1", "match": "gpt-4[*]", "to": "gemma2:2b"},
            {"kind": "replace", "name": "userPromptReplace-1", "lanes": ["user"], "literal": "cat", "with": "dog"},
            {"kind": "replace", "name": "userPromptReplace-2", "lanes": ["user"], "literal": "a", "with": ""},
            {"kind": "limit", "name": "maxTokens", "maxTokens": 5},
            {
                "kind": "words",
                "name": "bannedWords",
                "words": ["foo", "bar"],
                "lanes": ["output"],
                "ignoreCase": False,
                "wholeWords": False,
            },
        ],
    }


def test_the_first_json_can_block_every_prompt():
    policy = read_policy('{"request": {"block": true}}')
    assert [rule.kind for rule in json_rules(policy)] == ["endpoints"]


def json_rules(policy: Policy) -> list:
    class Kind(msgspec.Struct):
        kind: str

    return [msgspec.json.decode(msgspec.json.encode(rule), type=Kind) for rule in policy.rules]


def test_the_json_schema_names_every_kind_and_field():
    schema = json.dumps(json_schema())
    for word in ("maxTokens", "onBlock", "wholeWords", "entryPoint", "budget", "detect", "otlpEndpoint"):
        assert f'"{word}"' in schema
