"""Whatever a filter has seen, an ending is one, and an answer or an error is a document: servers say strange things."""

from __future__ import annotations

import json

import msgspec
import pytest
from ai_reading import holds
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.ai.dialect import Asked, Outcome
from kube_gateway.ai.dialects import endpoints
from properties import cases

WORDS = st.text(max_size=8) | st.sampled_from(["0", "1", "17", "-1", "²", "msg_1", "1e3"])
KEYS = st.lists(st.lists(WORDS, max_size=3).map(tuple), max_size=3).map(tuple)
COUNTS = st.dictionaries(st.sampled_from(["input", "output", "reasoning", "cached_input"]), st.integers(0, 10**12))
OUTCOMES = st.builds(
    Outcome,
    captured=st.dictionaries(st.sampled_from(["id", "created", "block"]), WORDS),
    open_keys=KEYS,
    ended_keys=st.just(()) | KEYS,
    usage=COUNTS,
    characters=st.dictionaries(st.sampled_from(["output", "reasoning"]), st.integers(0, 10**6)),
    sent=st.integers(0, 3),
    sequence=st.none() | st.integers(0, 10**9),
)
STREAMED = [
    (dialect, endpoint) for dialect, endpoint in endpoints() if endpoint.operation in {"chat", "text_completion"}
]


def documents(body: bytes, kind: str) -> list:
    if kind == "text/event-stream":
        lines = [line for line in body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line[6:]) for line in lines if line != b"data: [DONE]"]
    return [json.loads(line) for line in body.splitlines()]


@cases(2_000)
@given(pair=st.sampled_from(STREAMED), outcome=OUTCOMES, choices=st.integers(-1, 3), text=WORDS, reason=st.booleans())
def test_an_ending_is_made_of_events_that_its_own_shape_takes_for_the_end(pair, outcome, choices, text, reason):
    dialect, endpoint = pair
    asked = Asked(endpoint=endpoint, model=text, target="/?alt=sse", streaming=True, wants_usage=True, choices=choices)
    ending = dialect.ending(asked, outcome=outcome, reason="length" if reason else "blocked", message=text)
    events = documents(ending, endpoint.stream_type)
    shape = endpoint.stream or endpoint.response
    ended = [end for event in events for end in shape.ends if all(holds(when, event) for when in end.when)]
    assert ended or outcome.ended_keys or endpoint.stream is None
    assert not any(all(holds(when, event) for when in shape.error) for event in events if shape.error)


@cases(1_000)
@given(pair=st.sampled_from(endpoints()), text=st.text(st.characters(), max_size=9), streaming=st.booleans())
def test_an_answer_and_an_error_are_documents_with_the_text_in_them(pair, text, streaming):
    dialect, endpoint = pair
    asked = Asked(endpoint=endpoint, model="m", streaming=streaming, wants_usage=False)
    error = dialect.error(asked, status=403, reason="blocked", message=text)
    assert text in list(_strings(json.loads(error.body)))
    answer = dialect.answer(asked, text=text)
    found = [text for each in documents(answer.body, dict(answer.headers)["content-type"]) for text in _strings(each)]
    assert text in found
    assert msgspec.json.decode(msgspec.json.encode(answer.headers))


@pytest.mark.parametrize("status", [418, 599, 200])
def test_a_status_that_an_api_has_no_name_for_is_an_error_all_the_same(status):
    for dialect, endpoint in endpoints():
        asked = Asked(endpoint=endpoint, model="m", target="/?alt=sse", streaming=False, wants_usage=False)
        error = dialect.error(asked, status=status, reason="blocked", message="no")
        assert error.status == status
        assert "error" in json.loads(error.body)


def _strings(value):
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)
    elif isinstance(value, str):
        yield value
