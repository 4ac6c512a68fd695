"""Which requests are calls of a model: by method and the end of the path, whatever stands before it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kube_gateway.ai.dialects as package
from kube_gateway.ai.dialects import dialects, endpoints, find

PATHS = [
    ("POST", "/v1/chat/completions", "openai_chat", "chat_completions", None),
    ("POST", "/chat/completions", "openai_chat", "chat_completions", None),
    ("POST", "/openai/v1/chat/completions", "openai_chat", "chat_completions", None),
    ("POST", "/v1beta/openai/chat/completions", "openai_chat", "chat_completions", None),
    ("POST", "/api/v1/chat/completions?x=/v1/messages", "openai_chat", "chat_completions", None),
    (
        "POST",
        "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
        "openai_chat",
        "chat_completions_deployment",
        "my-gpt",
    ),
    ("GET", "/v1/chat/completions?limit=2", "openai_chat", "chat_completions_list", None),
    ("GET", "/v1/chat/completions/chatcmpl-1", "openai_chat", "chat_completions_get", None),
    ("GET", "/openai/chat/completions/chatcmpl-1/messages", "openai_chat", "chat_completions_messages", None),
    ("POST", "/v1/completions", "openai_completions", "completions", None),
    ("POST", "/openai/deployments/d/completions", "openai_completions", "completions_deployment", "d"),
    ("POST", "/v1/embeddings", "openai_embeddings", "embeddings", None),
    ("POST", "/openai/deployments/d/embeddings?api-version=1", "openai_embeddings", "embeddings_deployment", "d"),
    ("POST", "/v1/responses", "openai_responses", "responses", None),
    ("GET", "/v1/responses/resp_0a?stream=true", "openai_responses", "responses_get", None),
    ("POST", "/v1/responses/resp_0a/cancel", "openai_responses", "responses_cancel", None),
    ("POST", "/v1/responses/compact", "openai_responses", "responses_compact", None),
    ("POST", "/v1/responses/input_tokens", "openai_responses", "responses_input_tokens", None),
    ("GET", "/v1/models", "openai_models", "models", None),
    ("GET", "/openai/models?api-version=1", "openai_models", "models", None),
    ("GET", "/v1beta/openai/models", "openai_models", "models", None),
    ("GET", "/v1/models/Qwen/Qwen3-8B", "openai_models", "model", "Qwen/Qwen3-8B"),
    ("POST", "/api/chat", "ollama", "chat", None),
    ("POST", "/ollama/api/generate", "ollama", "generate", None),
    ("POST", "/api/embed", "ollama", "embed", None),
    ("POST", "/api/embeddings", "ollama", "embeddings", None),
    ("GET", "/api/tags", "ollama", "tags", None),
    ("POST", "/api/show", "ollama", "show", None),
    ("POST", "/api/pull", "ollama", "pull", None),
    ("DELETE", "/api/delete", "ollama", "delete", None),
    ("POST", "/api/blobs/sha256:0a", "ollama", "blobs", None),
    ("HEAD", "/api/blobs/sha256:0a", "ollama", "blobs_exist", None),
    ("POST", "/v1/messages", "anthropic", "messages", None),
    ("POST", "/anthropic/v1/messages?beta=true", "anthropic", "messages", None),
    ("POST", "/v1/messages/count_tokens", "anthropic", "count_tokens", None),
    (
        "POST",
        "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
        "anthropic",
        "messages_vertex",
        "claude-sonnet-4-5@20250929",
    ),
    ("POST", "/v1/messages/batches", "anthropic", "batches", None),
    ("GET", "/v1/messages/batches/msgbatch_1/results", "anthropic", "batch_results", None),
    ("POST", "/v1beta/models/gemma2:2b:generateContent", "gemini", "generateContent", "gemma2:2b"),
    ("POST", "/v1beta/models/g:streamGenerateContent?alt=sse", "gemini", "streamGenerateContent", "g"),
    ("POST", "/v1beta/tunedModels/t:generateContent", "gemini", "generateContent", "t"),
    (
        "POST",
        "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro:countTokens",
        "gemini",
        "countTokens",
        "gemini-2.5-pro",
    ),
    ("POST", "/v1beta/models/e:embedContent", "gemini", "embedContent", "e"),
    ("POST", "/v1beta/models/e:batchEmbedContents", "gemini", "batchEmbedContents", "e"),
    ("POST", "/v1/publishers/google/models/e:predict", "gemini", "predict", "e"),
    ("POST", "/v1beta/models/g:batchGenerateContent", "gemini", "batchGenerateContent", "g"),
    ("POST", "/v1beta/cachedContents", "gemini", "cachedContents", None),
    ("GET", "/v1beta/models", "gemini", "gemini_models", None),
    ("GET", "/v1beta/models/g", "gemini", "gemini_model", "g"),
]

NO_CALLS = [
    ("GET", "/chat/completions"),
    ("GET", "/docs/chat/completions/example"),
    ("GET", "/v1/messages/batches"),
    ("POST", "/v1/threads/thread_1/messages"),
    ("POST", "/v1/models"),
    ("GET", "/static/models/cube.obj"),
    ("GET", "/models"),
    ("POST", "/v1/models/resnet:predict"),
    ("GET", "/v1/responses/17"),
    ("GET", "/api/chat"),
    ("POST", "/api/chat/1"),
    ("POST", "/chat?next=/v1/chat/completions"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "/"),
    ("OPTIONS", "*"),
]


@pytest.mark.parametrize(("method", "target", "dialect", "name", "model"), PATHS)
def test_a_call_is_known_by_method_and_path(method, target, dialect, name, model):
    found, endpoint, in_target = find(method, target)
    assert (found.name, endpoint.name, in_target) == (dialect, name, model)
    assert endpoint.request.model_in_target is (model is not None)


@pytest.mark.parametrize(("method", "target"), NO_CALLS)
def test_what_only_resembles_a_call_is_none(method, target):
    assert find(method, target) is None


def test_every_endpoint_is_named_in_these_tests_but_a_few_of_ollama():
    named = {(dialect, name) for _, _, dialect, name, _ in PATHS}
    rest = {(dialect.name, endpoint.name) for dialect, endpoint in endpoints()} - named
    assert rest == {("ollama", name) for name in ("ps", "version", "push", "create", "copy")}


def test_names_are_unique_and_every_stream_has_a_shape():
    assert len({dialect.name for dialect in dialects()}) == len(dialects()) == 8
    for dialect in dialects():
        names = [endpoint.name for endpoint in dialect.endpoints]
        assert len(set(names)) == len(names)
        for endpoint in dialect.endpoints:
            assert (endpoint.stream is None) is (endpoint.streams == "never")
            assert (endpoint.request.stream is not None) or endpoint.streams != "by_body"


def test_patterns_are_such_as_the_native_core_takes_too():
    for _, endpoint in endpoints():
        assert not re.search(r"\(\?[^P:]|\\[1-9]", endpoint.pattern)


def test_adding_a_dialect_is_adding_a_file(tmp_path, monkeypatch):
    (tmp_path / "another.py").write_text(
        "from kube_gateway.ai.dialects import openai_models\n"
        "class Another(openai_models.OpenAIModels):\n    name = 'another'\n"
        "DIALECT = Another()\n"
    )
    (tmp_path / "_shared.py").write_text("raise AssertionError('no dialect')\n")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert "another" in {each.name for each in dialects.__wrapped__()}


def test_the_documentation_names_every_dialect_and_every_call():
    written = (Path(__file__).parents[3] / "docs/ai-dialects.md").read_text()
    table = written.split("## How a refusal looks")[0]
    for dialect, endpoint in endpoints():
        assert f"`{dialect.name}`" in table
        last = re.split(r"[/:]", endpoint.pattern.replace("(?:streamR|r)", "r"))[-1]
        assert last in table or any(mark in last for mark in "[+"), endpoint.pattern
