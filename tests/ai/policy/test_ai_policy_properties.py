"""What holds for every request: nothing changes without a rule, and with one only what it is about."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from policy_scenes import TARGETS, Scene

from kube_gateway.ai.policy.read import PolicyError, read_policy
from properties import cases

LIMIT = 900_000_000
# Rules that never fire on what is generated here, one of each kind that looks at a body; the limit beyond LIMIT only.
IDLE = f"""
version: 1
askUsage: false
rules:
- {{kind: model, name: m, match: "no such model", to: x}}
- {{kind: words, name: w, words: [zzzzzz], lanes: [prompt, answer]}}
- {{kind: detect, name: d, detectors: [jwt], lanes: [prompt]}}
- {{kind: limit, name: l, maxTokens: {LIMIT}, inject: false}}
- {{kind: tools, name: t, tools: [no_such_tool]}}
- {{kind: size, name: s, maxMessages: 1000}}
- {{kind: rate, name: r, requests: 1000000000}}
"""
BUSY = """
version: 1
rules:
- {kind: model, name: m, match: "*", to: "new \\"name\\""}
- {kind: words, name: w, words: [a], lanes: [prompt], wholeWords: false}
- {kind: limit, name: l, maxTokens: 10}
"""

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known = st.sampled_from(
    [
        "model",
        "stream",
        "messages",
        "role",
        "content",
        "text",
        "max_tokens",
        "options",
        "tools",
        "function",
        "n",
        "name",
    ]
)
names = known | st.text(max_size=6)
objects = st.dictionaries(
    names,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "tool", "x"]), "content": st.text(max_size=30)},
        optional={"name": st.text(max_size=5)},
    ),
    max_size=4,
)
requests = st.fixed_dictionaries({"model": st.text(max_size=12), "messages": messages}, optional={"x": values})
targets = st.sampled_from(sorted(TARGETS.values()))
spaces = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:  ")])

idle, empty, busy = Scene(IDLE), Scene("version: 1\naskUsage: false"), Scene(BUSY)


def beyond_the_limit(value: object) -> bool:
    """Whether the limit among the idle rules has something to do."""
    if isinstance(value, dict):
        asked = value.get("max_tokens")
        return (isinstance(asked, int | float) and asked > LIMIT) or any(map(beyond_the_limit, value.values()))
    return isinstance(value, list) and any(map(beyond_the_limit, value))


def written(value: object, separators: tuple[str, str], *, ascii_only: bool) -> bytes:
    return json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("scene", [empty, idle], ids=["no rules", "idle rules"])
@cases(2000)
@given(value=objects | requests, target=targets, separators=spaces, ascii_only=st.booleans())
def test_without_a_rule_that_acts_the_bytes_stay(scene, value, target, separators, ascii_only):
    assume(scene is not idle or not beyond_the_limit(value))
    decision = scene.decide("POST", target, written(value, separators, ascii_only=ascii_only))
    assert decision.reply is None
    assert (decision.body, decision.target) == (None, None)


@cases(2000)
@given(body=st.binary(max_size=200), target=targets)
def test_without_rules_any_bytes_pass(body, target):
    decision = empty.decide("POST", target, body)
    assert (decision.reply, decision.body, decision.target) == (None, None, None)


@cases(2000)
@given(body=st.binary(max_size=200) | objects.map(json.dumps), target=targets)
def test_with_rules_any_bytes_are_decided_on(body, target):
    decision = busy.decide("POST", target, body)
    assert decision.reply is None or decision.reply.status in {400, 403}


@cases(2000)
@given(value=requests, separators=spaces, ascii_only=st.booleans())
def test_only_what_rules_are_about_changes(value, separators, ascii_only):
    decision = busy.decide("POST", "/v1/chat/completions", written(value, separators, ascii_only=ascii_only))
    expected = {
        **value,
        "max_tokens": 10,
        **({"model": 'new "name"'} if value["model"] else {}),
        "messages": [expected_message(one) for one in value["messages"]],
    }
    body = decision.body or b"{}"
    assert json.loads(body) == expected
    assert list(json.loads(body)) == list({**value, "max_tokens": 10})


def expected_message(message: dict) -> dict:
    texts = {"content"} if message["role"] == "tool" else {"content", "name"}
    return {member: masked(text) if member in texts else text for member, text in message.items()}


def masked(text: str) -> str:
    return text.replace("a", "***").replace("A", "***")


@cases(300)
@given(
    text=st.text(max_size=200)
    | objects.map(json.dumps)
    | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1"))
)
def test_any_text_is_a_policy_or_a_refusal_of_one(text):
    try:
        read_policy(text)
    except PolicyError as error:
        assert error.message
