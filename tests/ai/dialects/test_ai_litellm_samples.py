"""Exchanges with a LiteLLM proxy: what others make of an API differs, and is understood all the same."""

from __future__ import annotations

import pytest
from ai_reading import texts, usage
from ai_samples import exchange, names

from kube_gateway.ai.dialects import find

ENDPOINTS = {
    "litellm-chat-stream": "chat_completions",
    "litellm-gemini": "generateContent",
    "litellm-gemini-stream": "streamGenerateContent",
    "litellm-gemini-tools-stream": "streamGenerateContent",
    "litellm-messages": "messages",
    "litellm-messages-stream": "messages",
    "litellm-messages-tools-stream": "messages",
    "litellm-responses": "responses",
    "litellm-responses-stream": "responses",
    "litellm-responses-tools-stream": "responses",
}


def test_every_sample_is_named_here():
    assert set(ENDPOINTS) == set(names(of_litellm=True))


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_recorded_request_is_sorted_and_its_prompt_found(name):
    sample = exchange(name)
    _, endpoint, model = find(sample.method, sample.target)
    assert (endpoint.name, model) == (ENDPOINTS[name], "gemma2:2b" if "gemini" in name else None)
    found = texts(endpoint.request.lanes, sample.asked())
    assert [text for lane, text in found if lane == "user"] == ["Why?"]
    assert ("tool_definition", "The weather") in found or "tools" not in name


@pytest.mark.parametrize("name", ENDPOINTS)
def test_texts_and_usage_of_a_recorded_answer_are_found(name):
    sample = exchange(name)
    endpoint = find(sample.method, sample.target)[1]
    shape = endpoint.response if "application/json" in sample.content_type else endpoint.stream
    once = tuple(lane for lane in shape.lanes if not lane.copy)
    said: dict[str, str] = {}
    for document in sample.documents():
        for lane, text in texts(once, document):
            said[lane] = said.get(lane, "") + text
    arguments = {"tool_arguments": "Oslo" if "gemini" in name else '{"city":"Oslo"}'}
    assert said == ({"output": "Let me", **arguments} if "tools" in name else {"output": "Hello über you"})
    used = usage(shape, sample.documents())
    assert (used["input"], used["output"]) == (9, 7)
