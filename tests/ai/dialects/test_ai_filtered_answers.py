"""Answers in one document through the native filter: texts, usage and calls of tools are found, and masks reach them."""

from __future__ import annotations

import json

import ai_answers
import msgspec
import pytest
from ai_asking import asked
from ai_filtering import masks
from ai_reading import texts
from ai_samples import exchange, names

from kube_gateway._native import FilterPlan
from kube_gateway.ai.dialect import Outcome
from kube_gateway.ai.dialects import find

LANES = ("output", "tool_arguments", "refusal", "reasoning", "tool")
WHOLE = [
    name for name in names() if exchange(name).status == 200 and exchange(name).content_type[:16] == "application/json"
]


def filtered(shape, body: bytes, *, patterns=None, tools: bytes = b"[]", **start) -> tuple[bytes, Outcome]:
    lanes = dict.fromkeys(LANES, patterns) if patterns else {}
    plan = FilterPlan(msgspec.json.encode(shape), patterns=lanes, shadow={}, tools=tools)
    through = plan.start(framing="whole", **start)
    out = through.feed(body[:9]) + through.feed(body[9:]) + through.finish()
    return out, msgspec.json.decode(through.outcome(), type=Outcome)


def of(name: str):
    dialect, endpoint, document = ai_answers.ALL[name]
    return asked(dialect, endpoint).endpoint.response, document


@pytest.mark.parametrize("name", WHOLE)
def test_a_recorded_answer_without_a_match_stays_as_it_is(name):
    sample = exchange(name)
    shape = find(sample.method, sample.target)[1].response
    out, outcome = filtered(shape, sample.body, patterns=masks("☃"))
    assert out == sample.body
    assert (outcome.done, outcome.failed, outcome.unreadable) == (True, False, 0)
    assert outcome.usage.get("output", 4) == 4


@pytest.mark.parametrize("name", ai_answers.ALL)
def test_all_texts_of_an_answer_are_found_and_all_tokens(name):
    shape, document = of(name)
    body = json.dumps(document).encode()
    out, outcome = filtered(shape, body, patterns=masks("☃"))
    assert out == body
    said = ai_answers.SAID[name]
    found: dict[str, list[str]] = {}
    for lane, text in texts(tuple(lane for lane in shape.lanes if not lane.copy), document):
        found.setdefault(lane, []).append(text)
    assert {lane: sorted(texts) for lane, texts in found.items()} == {
        lane: sorted(texts) for lane, texts in said.items()
    }
    assert outcome.characters == {lane: sum(map(len, texts)) for lane, texts in said.items()}
    used = outcome.usage
    assert used["input"] == 9
    assert used["output"] in {5, 7}
    assert outcome.model == ("the-model")


@pytest.mark.parametrize("name", ai_answers.ALL)
def test_masks_reach_all_texts_that_may_be_changed(name):
    shape, document = of(name)
    words = [text for lane, texts in ai_answers.SAID[name].items() for text in texts if lane != "reasoning"]
    out, outcome = filtered(shape, json.dumps(document).encode(), patterns=masks(*words), model="asked-for")
    assert set(outcome.matches) >= set(words)
    left = [text for _, text in texts(shape.lanes, json.loads(out))]
    # Arguments stay JSON, though the pattern is all of them.
    assert set(left) <= {"***", "r", "r1", "r2", "Hm", '{"city":"***"}', "{}"}
    assert json.loads(out).get("model", json.loads(out).get("modelVersion")) == "asked-for"


def test_a_thought_of_anthropic_is_never_changed():
    shape, document = of("messages")
    out, outcome = filtered(shape, json.dumps(document).encode(), patterns=masks("r"))
    assert json.loads(out)["content"][0] == document["content"][0]
    assert "r" not in outcome.matches


def test_what_gives_a_masked_word_away_goes():
    shape, document = of("chat")
    out, _ = filtered(shape, json.dumps(document).encode(), patterns=masks("o1"))
    assert b"o1" not in out


@pytest.mark.parametrize("name", ai_answers.ALL)
@pytest.mark.parametrize("arguments", [[], [{"path": "city", "regex": "Oslo"}]])
def test_a_call_of_a_tool_is_denied_by_name_and_by_argument(name, arguments):
    shape, document = of(name)
    body = json.dumps(document).encode()
    rule = {"id": "no", "name": "weather", "arguments": arguments, "allow": False}
    out, outcome = filtered(shape, body, tools=json.dumps([rule]).encode())
    assert (out, outcome.denied) == (b"", "no")
    other = {**rule, "name": "weather2"}
    assert filtered(shape, body, tools=json.dumps([other]).encode())[0] == body


def test_custom_and_legacy_calls_are_denied_too():
    shape, document = of("chat")
    for name in ("run", "old"):
        rule = {"id": "no", "name": name, "allow": False}
        assert filtered(shape, json.dumps(document).encode(), tools=json.dumps([rule]).encode())[1].denied == "no"
