"""Where the shapes find texts: each in the lane of who said it, and none twice that was said once."""

from __future__ import annotations

from collections import Counter

import ai_requests
import msgspec
import pytest
from ai_asking import dialect
from ai_reading import at, first, holds, keys, texts, usage
from ai_streams import AZURE_PROMPT_FILTER, CHAT_WITH_TOOLS, GEMINI, MESSAGES, RESPONSES, data

from kube_gateway._native import FilterPlan
from kube_gateway.ai.dialects import endpoints
from kube_gateway.ai.shape import RequestShape, ResponseShape


def endpoint(dialect_name: str, name: str):
    return next(each for each in dialect(dialect_name).endpoints if each.name == name)


def lanes_of(dialect_name: str, name: str, document) -> list[tuple[str, str]]:
    return sorted(texts(endpoint(dialect_name, name).request.lanes, document))


def test_messages_of_openai_are_sorted_by_role():
    assert lanes_of("openai_chat", "chat_completions", ai_requests.CHAT) == sorted(
        [
            ("system", "s"),
            ("developer", "d"),
            *(("user", each) for each in ("u1", "u2", "u3")),
            *(("assistant", each) for each in ("a1", "a2", "a3")),
            ("reasoning", "r"),
            *(("tool_arguments", each) for each in ("{}", "i", "l")),
            *(("tool", each) for each in ("t1", "t2")),
            *(("tool_definition", each) for each in ("d1", "d2", "d3")),
        ]
    )


def test_items_of_a_response_are_sorted_by_role_and_type():
    found = lanes_of("openai_responses", "responses", ai_requests.RESPONSES)
    assert found == sorted(
        [
            ("system", "s1"),
            ("system", "s2"),
            ("developer", "d"),
            *(("user", each) for each in ("u1", "u2", "u3", "u4", "input_text")),
            *(("assistant", each) for each in ("a1", "a2")),
            *(("reasoning", each) for each in ("r1", "r2")),
            *(("tool_arguments", each) for each in ("{}", "i")),
            *(("tool", each) for each in ("t1", "t2", "t3", "t4")),
            *(("tool_definition", each) for each in ("d1", "d2")),
        ]
    )
    assert lanes_of("openai_responses", "responses", {"input": "u"}) == [("user", "u")]


def test_blocks_of_anthropic_are_sorted_by_role_and_kind():
    assert lanes_of("anthropic", "messages", ai_requests.MESSAGES) == sorted(
        [
            ("system", "s"),
            *(("user", each) for each in ("u1", "u2", "u3", "u4")),
            *(("assistant", each) for each in ("a", "a2")),
            ("reasoning", "r"),
            *(("tool_arguments", each) for each in ("Oslo", "y")),
            *(("tool", each) for each in ("t1", "t2")),
            *(("tool_definition", each) for each in ("d1", "d2")),
        ]
    )
    for shape in (endpoint("anthropic", "messages").request, *shapes_of("anthropic", "messages")):
        assert all(lane.immutable is (lane.name == "reasoning") for lane in shape.lanes)


def shapes_of(dialect_name: str, name: str) -> list[ResponseShape]:
    found = endpoint(dialect_name, name)
    return [found.response, found.stream]


@pytest.mark.parametrize("snake", [False, True])
def test_parts_of_gemini_are_sorted_by_role_in_both_spellings(snake):
    asked = ai_requests.gemini(snake=snake)
    shape = endpoint("gemini", "generateContent").request
    assert sorted(texts(shape.lanes, asked)) == sorted(
        [
            ("system", "s"),
            ("user", "u1"),
            ("user", "u2"),
            ("assistant", "a"),
            ("reasoning", "r"),
            ("tool_arguments", "c"),
            ("tool", "t"),
            ("tool_definition", "d"),
        ]
    )
    assert [value for path in shape.limits for _, value in at(asked, path)] == [5]
    assert [value for path in shape.tool_names for _, value in at(asked, path)] == ["f"]
    assert shape.limits[0] == "generationConfig.maxOutputTokens"
    wrapped = {"generate_content_request" if snake else "generateContentRequest": asked}
    counting = endpoint("gemini", "countTokens").request
    assert sorted(texts(counting.lanes, wrapped)) == sorted(texts(shape.lanes, asked))


STREAMS = {
    ("openai_chat", "chat_completions"): CHAT_WITH_TOOLS,
    ("openai_responses", "responses"): RESPONSES,
    ("anthropic", "messages"): MESSAGES,
    ("gemini", "streamGenerateContent"): GEMINI,
}

SAID = {
    ("openai_chat", "chat_completions"): {
        "reasoning": "Which",
        "tool_arguments": '{"city":"Oslo"}{"of":1}',
        "output": "No",
        "refusal": "never",
    },
    ("gemini", "streamGenerateContent"): {"reasoning": "Hm", "output": "Hello you", "tool_arguments": "Oslo"},
}
SAID_ELSEWHERE = {"reasoning": "Hm", "output": "Hello you", "tool_arguments": '{"city":"Oslo"}'}


@pytest.mark.parametrize("which", STREAMS)
def test_what_a_stream_says_is_found_once_in_its_lanes(which):
    shape = endpoint(*which).stream
    once = [lane for lane in shape.lanes if not lane.copy]
    said: dict[str, str] = {}
    for event in data(STREAMS[which]):
        for lane, text in texts(once, event):
            said[lane] = said.get(lane, "") + text
    assert said == SAID.get(which, SAID_ELSEWHERE)


@pytest.mark.parametrize(
    ("which", "used"),
    [
        (("openai_chat", "chat_completions"), {"input": 9, "output": 7, "cached_input": 4, "reasoning": 2}),
        (("openai_responses", "responses"), {"input": 9, "output": 7, "cached_input": 4, "reasoning": 2}),
        (("anthropic", "messages"), {"input": 9, "output": 7, "cached_input": 4, "cache_creation_input": 2}),
        (("gemini", "streamGenerateContent"), {"input": 9, "output": 5, "reasoning": 2}),
    ],
)
def test_the_last_numbers_of_a_stream_are_its_usage(which, used):
    assert usage(endpoint(*which).stream, data(STREAMS[which])) == used


def test_a_response_repeats_its_text_in_five_events_and_its_call_in_four():
    shape = endpoint("openai_responses", "responses").stream
    found = Counter(text for event in data(RESPONSES) for text in texts(shape.lanes, event))
    assert found["output", "Hello you"] == 4
    assert found["tool_arguments", '{"city":"Oslo"}'] == 3
    assert found["reasoning", "Hm"] == 5


def test_a_piece_in_an_event_that_is_not_known_is_output():
    shape = endpoint("openai_responses", "responses").stream
    event = {"type": "response.poem.delta", "output_index": 1, "delta": "Roses"}
    lanes = [lane for lane in shape.lanes if texts((lane,), event)]
    assert [(lane.name, keys(lane, event)) for lane in lanes] == [("output", [("response.poem.delta", "1", "")])]
    assert not texts(shape.lanes, {"type": "response.audio.delta", "delta": "c291bmQ="})


def test_calls_of_tools_have_a_text_each():
    shape = endpoint("openai_chat", "chat_completions").stream
    lane = next(lane for lane in shape.lanes if lane.name == "tool_arguments")
    found = [key for event in data(CHAT_WITH_TOOLS) for key in keys(lane, event)]
    assert found == [("0", "0"), ("0", "0"), ("0", "0"), ("0", "1")]
    names = [value for event in data(CHAT_WITH_TOOLS) for _, value in at(event, shape.tools[0].name)]
    assert names == ["weather", "time"]
    assert lane.begins == "choices[].delta.tool_calls[].id"


def test_results_of_a_prompt_filter_are_not_the_usage_that_was_asked_for():
    shape = endpoint("openai_chat", "chat_completions").stream
    assert not all(holds(when, AZURE_PROMPT_FILTER) for when in shape.usage_event)
    assert all(holds(when, data(CHAT_WITH_TOOLS)[-1]) for when in shape.usage_event)


def test_arguments_that_are_objects_are_read_to_the_bottom():
    line = {
        "message": {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "f", "arguments": {"city": "Oslo", "more": ["x", {"y": "z"}], "n": 1}}}
            ],
        },
        "done": False,
    }
    shape = endpoint("ollama", "chat").stream
    assert texts(shape.lanes, line) == [("output", ""), *(("tool_arguments", each) for each in ("Oslo", "x", "z"))]


def test_prompts_in_numbers_are_where_no_text_is():
    shape = endpoint("openai_embeddings", "embeddings").request
    for given, numbers in (([1, 2], 2), ([[1], [2, 3]], 3), (["a", "b"], 0), ("a", 0)):
        found = [value for path in shape.token_ids for _, value in _numbers({"input": given}, path)]
        assert len(found) == numbers
        assert [text for _, text in texts(shape.lanes, {"input": given})] == [
            each for each in ([given] if isinstance(given, str) else given) if isinstance(each, str)
        ]


def _numbers(document, path):
    return [(place, value) for place, value in at(document, path) if isinstance(value, int)]


def test_a_model_below_a_prefix_is_found():
    shape = endpoint("gemini", "batchEmbedContents").request
    assert first({"requests": [{"model": "models/e"}]}, shape.model) == shape.model_prefix + "e"


def test_shapes_are_data_that_the_native_core_takes():
    for _, each in endpoints():
        FilterPlan(msgspec.json.encode(each.response))
        for shape in (each.request, each.response, each.stream):
            if shape is not None:
                kind = RequestShape if shape is each.request else ResponseShape
                assert msgspec.json.decode(msgspec.json.encode(shape), type=kind) == shape
