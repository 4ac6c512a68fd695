"""Without a match, every byte of an answer stays, whatever it is and however it is cut; nothing that comes in crashes."""

import json
import random
import resource
from time import perf_counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import CUTS, cut, outcome, plan, run, words

from kube_gateway.ai.dialects import _anthropic_shapes, _gemini_shapes, _openai_chat_shapes, _openai_responses_shapes
from kube_gateway.ai.dialects.ollama import DIALECT as OLLAMA
from kube_gateway.ai.shape import ResponseShape
from properties import cases

FRAMINGS = st.sampled_from(["sse", "ndjson", "array", "whole"])
SHAPES = [
    _openai_chat_shapes.STREAM,
    _openai_responses_shapes.STREAM,
    _anthropic_shapes.STREAM,
    _gemini_shapes.STREAM,
    *(endpoint.stream for endpoint in OLLAMA.endpoints if endpoint.stream),
]
LANES = ("output", "reasoning", "refusal", "tool_arguments", "tool")
ALL = [plan(shape, mask=words("\U0010fffe never"), lanes=LANES) for shape in SHAPES]
EVENTS = [
    b'{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}',
    b'{"choices":[],"usage":{"prompt_tokens":1}}',
    b'{"message":{"content":"a","tool_calls":[{"function":{"name":"f","arguments":{"x":["y",1]}}}]},"done":false}',
    b'{"type":"response.output_text.delta","sequence_number":4,"output_index":0,"content_index":0,"delta":"x"}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}',
    b'{"candidates":[{"content":{"parts":[{"text":"x"},{"functionCall":{"name":"f","args":{"a":"b"}}}]}}]}',
    b"[DONE]",
    b'"\\ud83d"',
    b"1e400",
    b"not json",
]
BYTES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\r", b"\n", b"\r\n", b"data:", b"data: ", b":", b"event: x", b"[", b"]", b",", b"{", b"}", b" "]
        ),
        st.sampled_from(EVENTS),
        st.binary(max_size=6),
        st.just(b"\xef\xbb\xbf"),
    ),
    max_size=30,
).map(b"".join)


@cases(2500)
@given(st.sampled_from(ALL), FRAMINGS, BYTES, CUTS)
def test_any_bytes_in_any_pieces_come_out_as_they_went_in(planned, framing, body, places):
    filtering = planned.start(framing=framing)
    assert run(filtering, cut(body, places)) == body
    assert filtering.ended is False
    outcome(filtering)


@cases(500)
@given(FRAMINGS, BYTES, CUTS)
def test_a_plan_without_anything_changes_nothing(framing, body, places):
    assert run(plan(ResponseShape()).start(framing=framing), cut(body, places)) == body


@cases(2000)
@given(st.sampled_from(SHAPES), FRAMINGS, BYTES, CUTS, st.booleans())
def test_any_bytes_are_survived_with_everything_switched_on(shape, framing, body, places, strict):
    tools = json.dumps(
        [
            {"id": "s", "name": ".*", "arguments": [{"path": "x", "regex": "y"}], "allow": False, "shadow": True},
            {"id": "t", "name": "f|g", "arguments": [{"path": "x[]", "regex": "z"}], "allow": False},
        ]
    )
    planned = plan(shape, mask=words("a", "x"), lanes=LANES, shadow={"output": words("b")}, tools=tools.encode())
    filtering = planned.start(
        framing=framing, model="m", strip_usage=True, most_output=3, collect=5, strict=strict,
        transform=lambda _lane, _key, text, _last: text.upper(),
    )  # fmt: skip
    run(filtering, cut(body, places))
    seen = outcome(filtering)
    assert seen.sent <= seen.events + 30
    assert filtering.ended == (seen.denied is not None or seen.cut)
    assert not filtering.ended or filtering.feed(b"more") == b""


@pytest.mark.parametrize("framing", ["sse", "ndjson", "array"])
@pytest.mark.parametrize("where", ["passes", "ends"])
def test_an_event_that_is_too_long_passes_in_pieces_or_ends_the_answer(framing, where):
    long = b'{"choices":[{"index":0,"delta":{"content":"' + b"banned " * (1 << 20) + b"banned " * (1 << 18) + b'"}}]}'
    short = b'{"choices":[{"index":0,"delta":{"content":"banned"}}]}'
    joined = {
        "sse": b"data: " + long + b"\n\ndata: " + short + b"\n\n",
        "ndjson": long + b"\n" + short + b"\n",
        "array": b"[" + long + b"," + short + b"]",
    }[framing]
    filtering = plan(_openai_chat_shapes.STREAM, mask=words("banned")).start(framing=framing, strict=where == "ends")
    out = run(filtering, cut(joined, range(0, len(joined), 100_001)))
    if where == "ends":
        assert (out.strip(b"["), outcome(filtering).denied) == (b"", "unreadable")
        return
    assert out == joined.replace(short, short.replace(b"banned", b"***"))
    assert outcome(filtering).unreadable == 1


def test_memory_does_not_grow_with_the_stream():
    event = b'data: {"choices":[{"index":0,"delta":{"content":"some words ban"}}]}\n\n'
    filtering = plan(_openai_chat_shapes.STREAM, mask=words("banned")).start(framing="sse")
    many = event * 1000
    filtering.feed(many * 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        filtering.feed(many)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB


def test_answers_of_many_choices_stay_fast():
    rng = random.Random(1)
    filtering = plan(_openai_chat_shapes.STREAM, mask=words("banned")).start(framing="sse")
    events = b"".join(
        b'data: {"choices":[{"index":%d,"delta":{"content":"ban"}}]}\n\n' % rng.randrange(3000) for _ in range(20_000)
    )
    started = perf_counter()
    filtering.feed(events)
    assert perf_counter() - started < 5
    assert len(msgspec.json.decode(filtering.outcome())["open_keys"]) <= 1024


@pytest.mark.parametrize("body", [b"[,x", b"[,\xef\xbb\xbf", b'[ ,{"a":1}, ]', b'[{"a":1},,{"b":2}]'])
def test_arrays_that_are_not_quite_right_pass_as_they_are(body):
    assert run(ALL[3].start(framing="array"), [body]) == body


@pytest.mark.parametrize("before", [b"[", b'[{"a":1},', b'[{"a":1}\n,\n'])
def test_an_element_that_is_too_long_to_be_looked_at_stands_where_it_stood(before):
    body = before + b'{"a":"' + b"x" * (9 << 20) + b'"},{"b":2}]'
    pieces = [body[start : start + 65536] for start in range(0, len(body), 65536)]
    # Not compared by assert: nobody wants to read what it would print.
    assert (run(ALL[3].start(framing="array"), pieces) == body) is True
