"""Where the shapes find texts: each in the lane of who said it, and none twice that was said once."""

from __future__ import annotations

import json
from collections import Counter

import ai_requests
import msgspec
import pytest
from ai_asking import dialect
from ai_reading import at, first, holds, keys, texts, usage
from ai_streams import AZURE_PROMPT_FILTER, CHAT_WITH_TOOLS, GEMINI, MESSAGES, RESPONSES, data

from kube_gateway._native import FilterPlan, Finder
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
            *(("user", each) for each in ("u1", "u2", "u3", "u4")),
            *(("assistant", each) for each in ("a1", "a2", "a3")),
            *(("reasoning", each) for each in ("r", "r2", "r3", "r4")),
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


def test_requests_in_a_list_are_sorted_as_those_that_are_alone():
    inside = lanes_of("anthropic", "batches", {"requests": [{"params": ai_requests.MESSAGES}]})
    assert inside == lanes_of("anthropic", "messages", ai_requests.MESSAGES)
    for snake in (False, True):
        inside = lanes_of("gemini", "batchGenerateContent", ai_requests.gemini_batch(snake=snake))
        assert inside == lanes_of("gemini", "generateContent", ai_requests.gemini(snake=snake))
    assert lanes_of("gemini", "cachedContents", ai_requests.gemini(snake=False)) == inside


def test_texts_that_a_model_of_ollama_is_made_with_are_sorted():
    assert lanes_of("ollama", "create", ai_requests.CREATE) == [
        ("assistant", "a"),
        ("system", "s1"),
        ("system", "s2"),
        ("user", "u"),
    ]


PLAIN_PARTS = [
    (
        ("openai_chat", "chat_completions"),
        {
            "messages": [
                {"role": "system", "content": ["s"]},
                {"role": "user", "content": ["u1", {"type": "text", "text": "u2"}]},
                {"role": "tool", "content": ["t"]},
            ],
            "prediction": {"content": ["a"]},
        },
        [("assistant", "a"), ("system", "s"), ("tool", "t"), ("user", "u1"), ("user", "u2")],
    ),
    (
        ("openai_responses", "responses"),
        {
            "input": [
                "u1",
                {"role": "user", "content": ["u2", {"text": "u3"}]},
                {"role": "assistant", "content": ["a"]},
                {"type": "function_call_output", "output": ["t1", {"text": "t2"}]},
            ]
        },
        [("assistant", "a"), ("tool", "t1"), ("tool", "t2"), ("user", "u1"), ("user", "u2"), ("user", "u3")],
    ),
    (
        ("openai_embeddings", "embeddings"),
        {"messages": [{"role": "user", "content": ["u1", {"text": "u2"}]}]},
        [("user", "u1"), ("user", "u2")],
    ),
    (
        ("anthropic", "messages"),
        {
            "system": ["s1", {"type": "text", "text": "s2"}],
            "messages": [
                {"role": "user", "content": ["u1", {"type": "text", "text": "u2"}]},
                {"role": "assistant", "content": ["a"]},
                {"role": "user", "content": [{"type": "tool_result", "content": ["t1", {"text": "t2"}]}]},
                {"role": "user", "content": [{"type": "document", "source": {"content": ["u3", {"text": "u4"}]}}]},
            ],
        },
        [
            ("assistant", "a"),
            ("system", "s1"),
            ("system", "s2"),
            ("tool", "t1"),
            ("tool", "t2"),
            *(("user", each) for each in ("u1", "u2", "u3", "u4")),
        ],
    ),
]
"""Texts that stand among parts or in their place: not every API writes so, but servers for it take them."""


@pytest.mark.parametrize(("which", "document", "expected"), PLAIN_PARTS)
def test_a_text_that_is_a_part_itself_is_found_once(which, document, expected):
    assert lanes_of(*which, document) == expected
    check_masks(*which, document, expected)


def check_masks(dialect_name: str, name: str, document, expected) -> None:
    """A new text for each place changes these bytes and no other."""
    body = json.dumps(document, indent=1)
    wanted = [
        {"name": lane.name, "path": lane.path, "when": lane.when, "deep": lane.deep}
        for lane in endpoint(dialect_name, name).request.lanes
    ]
    scanned = Finder(msgspec.json.encode(wanted)).scan(body.encode())
    assert sorted((hit.name, hit.text) for hit in scanned.hits) == expected
    for number, hit in enumerate(scanned.hits):
        scanned.replace_text(number, f"<{hit.text}>")
        body = body.replace(f'"{hit.text}"', f'"<{hit.text}>"')
    assert scanned.apply() == body.encode()


def single(value):
    """The same with no array around what is alone in it, as Google takes it."""
    if isinstance(value, list):
        return single(value[0]) if len(value) == 1 else [single(each) for each in value]
    return {key: single(each) for key, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("snake", [False, True])
def test_parts_of_gemini_may_stand_without_an_array(snake):
    asked = ai_requests.gemini(snake=snake)
    expected = lanes_of("gemini", "generateContent", asked)
    assert lanes_of("gemini", "generateContent", single(asked)) == expected
    check_masks("gemini", "generateContent", single(asked), expected)
    for content in asked["contents"]:
        found = lanes_of("gemini", "generateContent", {"contents": [content]})
        assert found
        for alone in (content, single(content)):
            assert lanes_of("gemini", "generateContent", {"contents": alone}) == found
            check_masks("gemini", "generateContent", {"contents": alone}, found)
    wrapped = {"generate_content_request" if snake else "generateContentRequest": single(asked)}
    assert lanes_of("gemini", "countTokens", wrapped) == expected


def test_contents_to_embed_may_stand_without_an_array():
    request = {"content": {"parts": {"text": "u"}}}
    assert lanes_of("gemini", "embedContent", request) == [("user", "u")]
    for requests in (request, [request], {"content": {"parts": [{"text": "u"}]}}):
        assert lanes_of("gemini", "batchEmbedContents", {"requests": requests}) == [("user", "u")]


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
    assert texts(shape.lanes, line) == [("output", ""), *(("tool_arguments", each) for each in ("Oslo", "x", "z", "1"))]


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
