"""Recorded exchanges with a real server: each is sorted right, its texts are found, and its usage is read."""

from __future__ import annotations

import pytest
from ai_reading import at, first, holds, texts, usage
from ai_samples import exchange, names

from kube_gateway.ai.dialects import find

ENDPOINTS = {
    "api-chat": "chat",
    "api-chat-bad-json": "chat",
    "api-chat-stream": "chat",
    "api-chat-stream-end-of-text": "chat",
    "api-chat-stream-runner-killed": "chat",
    "api-chat-tools-refused": "chat",
    "api-chat-unknown-model": "chat",
    "api-embed": "embed",
    "api-embeddings-legacy": "embeddings",
    "api-generate": "generate",
    "api-generate-load": "generate",
    "api-generate-stream": "generate",
    "api-ps": "ps",
    "api-tags": "tags",
    "api-version": "version",
    "client-ollama-chat": "chat",
    "client-ollama-chat-stream": "chat",
    "client-openai-chat": "chat_completions",
    "client-openai-chat-stream": "chat_completions",
    "client-openai-embeddings": "embeddings",
    "v1-chat": "chat_completions",
    "v1-chat-bad-json": "chat_completions",
    "v1-chat-stream": "chat_completions",
    "v1-chat-stream-runner-killed": "chat_completions",
    "v1-chat-stream-usage": "chat_completions",
    "v1-chat-unknown-model": "chat_completions",
    "v1-completions": "completions",
    "v1-completions-stream-usage": "completions",
    "v1-embeddings": "embeddings",
    "v1-model": "model",
    "v1-models": "models",
}

ANSWERED = [name for name in ENDPOINTS if exchange(name).status == 200 and exchange(name).request]


def test_every_sample_is_named_here_but_the_one_that_is_no_call_of_a_model():
    assert {*ENDPOINTS, "unknown-path"} == set(names())


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_recorded_request_is_sorted(name):
    sample = exchange(name)
    dialect, endpoint, model = find(sample.method, sample.target)
    assert endpoint.name == ENDPOINTS[name]
    assert dialect.name.startswith("openai" if "v1" in sample.target else "ollama")
    assert model == ("tiny:1b" if name == "v1-model" else None)


def test_a_path_that_no_api_has_is_not_sorted():
    sample = exchange("unknown-path")
    assert find(sample.method, sample.target) is None


@pytest.mark.parametrize("name", ANSWERED)
def test_model_stream_limit_and_prompt_of_a_recorded_request_are_found(name):
    sample = exchange(name)
    asked, shape = sample.asked(), find(sample.method, sample.target)[1].request
    assert first(asked, shape.model) == asked["model"]
    streaming = first(asked, shape.stream)
    assert (shape.streams_by_default if streaming is None else streaming) is (
        "stream" in name or name == "api-generate-load"
    )
    limits = [value for path in shape.limits for _, value in at(asked, path)]
    assert limits == [value for value in _numbers(asked) if value in (4, 400)]
    prompts = [] if name == "api-generate-load" else {"api-embed": ["one", "two"]}.get(name) or [_prompt(asked)]
    assert texts(shape.lanes, asked) == [("user", prompt) for prompt in prompts]


def _prompt(asked) -> str:
    return asked.get("prompt") or asked.get("input") or asked["messages"][0]["content"]


def _numbers(asked) -> list[int]:
    found = [asked.get("max_tokens"), asked.get("options", {}).get("num_predict")]
    return [each for each in found if each is not None]


@pytest.mark.parametrize("name", [name for name in ANSWERED if "embed" not in name])
def test_the_text_of_a_recorded_answer_is_output_and_nothing_else_is(name):
    sample = exchange(name)
    shape = _answer_shape(sample)
    found = [text for document in sample.documents() for text in texts(shape.lanes, document)]
    native = ' this more "quoted" <b>'
    openai = ' time with "quoted" <b>'
    expected = {
        "api-chat-stream-end-of-text": ' up "quoted" have could',
        "api-chat-stream-runner-killed": " see",
        "api-generate-load": "",
        "v1-chat-stream-runner-killed": " when",
    }
    assert {lane for lane, _ in found} == {"output"}
    said = "".join(text for _, text in found)
    assert said == expected.get(name, openai if "/v1/" in sample.target else native)


@pytest.mark.parametrize("name", ANSWERED)
def test_the_usage_of_a_recorded_answer_is_read(name):
    sample = exchange(name)
    found = usage(_answer_shape(sample), sample.documents())
    expected = {
        "api-chat-stream-end-of-text": {"input": 23, "output": 5},
        "api-chat-stream-runner-killed": {},
        "api-embed": {"input": 8},
        "api-embeddings-legacy": {},
        "api-generate-load": {},
        "client-openai-embeddings": {"input": 4},
        "v1-chat-stream": {},
        "v1-chat-stream-runner-killed": {},
        "v1-embeddings": {"input": 4},
    }
    assert found == expected.get(name, {"input": 23, "output": 4})


@pytest.mark.parametrize("name", ["v1-chat-stream-usage", "v1-completions-stream-usage", "v1-chat-stream"])
def test_only_the_chunk_that_was_asked_for_counts_as_usage(name):
    sample = exchange(name)
    shape = _answer_shape(sample)
    found = [all(holds(when, each) for when in shape.usage_event) for each in sample.documents()]
    assert found == [False] * 5 + [True] * ("usage" in name)


@pytest.mark.parametrize("name", [name for name in ANSWERED if "stream" in name])
def test_a_recorded_stream_ends_once_and_a_broken_one_never(name):
    sample = exchange(name)
    shape = _answer_shape(sample)
    ends = [all(holds(when, each) for when in end.when) for each in sample.documents() for end in shape.ends]
    assert sum(ends) == (0 if "killed" in name else 1)
    failed = [all(holds(when, each) for when in shape.error) for each in sample.documents()]
    assert sum(failed) == (name == "api-chat-stream-runner-killed")


@pytest.mark.parametrize("name", [name for name in ENDPOINTS if exchange(name).status >= 400])
def test_a_recorded_error_counts_as_a_failure(name):
    sample = exchange(name)
    shape = find(sample.method, sample.target)[1].response
    assert all(holds(when, sample.answered()) for when in shape.error)


def _answer_shape(sample):
    endpoint = find(sample.method, sample.target)[1]
    return endpoint.response if "application/json" in sample.content_type else endpoint.stream
