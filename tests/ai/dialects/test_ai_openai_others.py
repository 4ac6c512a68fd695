"""Completions, embeddings and models as the client of OpenAI takes them."""

from __future__ import annotations

import anthropic
import openai
import pytest
from ai_asking import SAYS_NO, asked, dialect, outcome
from ai_samples import exchange
from google import genai
from google.genai import errors
from openai import AsyncOpenAI, AzureOpenAI, OpenAI

from kube_gateway.ai.dialects import find

COMPLETIONS = dialect("openai_completions")
QUESTION = {"model": "tiny:1b", "prompt": "Why?"}


def client(replay, kind=OpenAI):
    return kind(base_url=f"{replay.url}/v1", api_key="none")


def an(**options):
    return asked("openai_completions", "completions", **options)


def test_a_completion_is_answered_with_the_text_in_every_choice(replay):
    replay.says(COMPLETIONS.answer(an(choices=2), text=SAYS_NO))
    answer = client(replay).completions.create(**QUESTION, n=2)
    assert [choice.text for choice in answer.choices] == [SAYS_NO, SAYS_NO]
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert (answer.object, answer.usage.total_tokens) == ("text_completion", 0)


@pytest.mark.parametrize("usage", [False, True])
def test_a_streamed_completion_is_answered_and_tells_usage_if_asked(replay, usage):
    replay.says(COMPLETIONS.answer(an(streaming=True, choices=2, wants_usage=usage), text=SAYS_NO))
    chunks = list(client(replay).completions.create(**QUESTION, stream=True))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert ["".join(each.text for each in choices if each.index == index) for index in (0, 1)] == [SAYS_NO, SAYS_NO]
    assert [chunk.usage.total_tokens for chunk in chunks if not chunk.choices] == [0] * usage


@pytest.mark.parametrize(("reason", "finish"), [("blocked", "content_filter"), ("length", "length")])
async def test_a_completion_that_is_ended_ends_with_the_reason(replay, reason, finish):
    seen = outcome(captured={"id": "cmpl-127", "created": "1795443120"}, usage={"input": 0, "output": 0})
    ending = COMPLETIONS.ending(an(streaming=True, wants_usage=True), outcome=seen, reason=reason, message=SAYS_NO)
    sent = b"".join(exchange("v1-completions-stream-usage").events()[:2])
    replay.streams(sent + ending, "text/event-stream")
    stream = await client(replay, AsyncOpenAI).completions.create(**QUESTION, stream=True)
    chunks = [chunk async for chunk in stream]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.text for choice in choices) == " time with"
    assert [choice.finish_reason for choice in choices] == [None, None, finish]
    assert {(chunk.id, chunk.created) for chunk in chunks} == {("cmpl-127", 1795443120)}
    assert chunks[-1].usage.total_tokens == 0


@pytest.mark.parametrize(
    ("name", "endpoint", "call"),
    [
        ("openai_embeddings", "embeddings", lambda of: of.embeddings.create(model="tiny:1b", input="one")),
        ("openai_models", "models", lambda of: of.models.list()),
        ("openai_models", "model", lambda of: of.models.retrieve("tiny:1b")),
    ],
)
def test_where_no_text_can_answer_the_answer_is_an_error(replay, name, endpoint, call):
    replay.says(dialect(name).answer(asked(name, endpoint), text=SAYS_NO))
    with pytest.raises(openai.PermissionDeniedError) as raised:
        call(client(replay))
    assert raised.value.code == "kube_gateway_blocked"
    assert len(replay.requests) == 1


def test_an_error_about_models_is_understood_by_all_whose_clients_ask_at_the_same_path(replay):
    models = dialect("openai_models")
    replay.says(models.error(asked("openai_models", "model"), status=404, reason="model_denied", message=SAYS_NO))
    with pytest.raises(anthropic.NotFoundError) as of_anthropic:
        anthropic.Anthropic(base_url=replay.url, api_key="none").models.retrieve("tiny:1b")
    assert of_anthropic.value.api_message == SAYS_NO
    google = genai.Client(api_key="none", http_options={"base_url": replay.url})
    with pytest.raises(errors.ClientError) as of_google:
        google.models.get(model="tiny:1b")
    assert of_google.value.message == SAYS_NO
    assert [find(method, target)[1].name for method, target, _ in replay.requests] == ["model", "model"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_azure_is_understood_and_answered(replay, stream):
    chat = dialect("openai_chat")
    replay.says(chat.answer(asked("openai_chat", "chat_completions_deployment", streaming=stream), text=SAYS_NO))
    azure = AzureOpenAI(azure_endpoint=replay.url, api_key="none", api_version="2024-10-21")
    answer = azure.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "?"}], stream=stream)
    said = "".join(c.choices[0].delta.content or "" for c in answer) if stream else answer.choices[0].message.content
    assert said == SAYS_NO
    method, target, _ = replay.requests[0]
    found, endpoint, model = find(method, target)
    assert (found, endpoint.name, model) == (chat, "chat_completions_deployment", "gpt-4o")
    assert endpoint.request.model_in_target
