"""Gemini's API as Google's client takes it: errors of the right class, once; answers; ends of streams."""

from __future__ import annotations

import json

import pytest
from ai_asking import REASONS, SAYS_NO, asked, dialect, outcome
from ai_streams import GEMINI, data
from google import genai
from google.genai import errors

from kube_gateway.ai.dialect import Totals
from kube_gateway.ai.dialects import find

API = dialect("gemini")
EVENTS = "text/event-stream"
SSE = "/v1beta/models/gemma2:2b:streamGenerateContent?alt=sse"


@pytest.fixture
def client(replay):
    return genai.Client(api_key="none", http_options={"base_url": replay.url, "api_version": "v1beta"})


def an(**options):
    return asked("gemini", "generateContent", **options)


def streamed(**options):
    return asked("gemini", "streamGenerateContent", **{"streaming": True, "target": SSE, **options})


@pytest.mark.parametrize(("reason", "status"), REASONS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_raised_once_as_the_class_of_its_status(replay, client, reason, status, stream):
    request = streamed() if stream else an()
    replay.says(API.error(request, status=status, reason=reason, message=SAYS_NO))
    with pytest.raises(errors.APIError) as raised:
        if stream:
            list(client.models.generate_content_stream(model="gemma2:2b", contents="Why?"))
        else:
            client.models.generate_content(model="gemma2:2b", contents="Why?")
    assert type(raised.value) is (errors.ClientError if status < 500 else errors.ServerError)
    assert (raised.value.code, raised.value.message) == (status, SAYS_NO)
    assert raised.value.details["error"]["details"][0]["reason"] == f"KUBE_GATEWAY_{reason.upper()}"
    assert len(replay.requests) == 1


async def test_an_error_is_raised_once_by_the_asynchronous_client(replay, client):
    replay.says(API.error(an(), status=429, reason="rate_limited", message=SAYS_NO, retry_after=3))
    with pytest.raises(errors.ClientError) as raised:
        await client.aio.models.generate_content(model="gemma2:2b", contents="Why?")
    assert raised.value.status == "RESOURCE_EXHAUSTED"
    assert raised.value.details["error"]["details"][1]["retryDelay"] == "3s"
    assert len(replay.requests) == 1


@pytest.mark.parametrize("choices", [1, 2])
def test_an_answer_says_the_text_in_every_candidate(replay, client, choices):
    replay.says(API.answer(an(choices=choices), text=SAYS_NO))
    answer = client.models.generate_content(model="gemma2:2b", contents="Why?")
    assert [each.content.parts[0].text for each in answer.candidates] == [SAYS_NO] * choices
    assert {each.finish_reason.value for each in answer.candidates} == {"STOP"}
    assert (answer.model_version, answer.usage_metadata.total_token_count) == ("gemma2:2b", 0)
    assert answer.text == SAYS_NO


def test_a_streamed_answer_says_the_text(replay, client):
    replay.says(API.answer(streamed(), text=SAYS_NO))
    chunks = list(client.models.generate_content_stream(model="gemma2:2b", contents="Why?"))
    assert "".join(chunk.text for chunk in chunks) == SAYS_NO
    method, target, _ = replay.requests[0]
    assert find(method, target)[1:] == (streamed().endpoint, "gemma2:2b")


async def test_a_streamed_answer_is_taken_by_the_asynchronous_client(replay, client):
    replay.says(API.answer(streamed(), text=SAYS_NO))
    stream = await client.aio.models.generate_content_stream(model="gemma2:2b", contents="Why?")
    assert [chunk.text async for chunk in stream] == [SAYS_NO]


def test_without_sse_a_stream_and_an_error_are_arrays():
    request = streamed(target="/v1beta/models/gemma2:2b:streamGenerateContent?key=none")
    answer = API.answer(request, text=SAYS_NO)
    assert [each["candidates"][0]["content"]["parts"] for each in json.loads(answer.body)] == [[{"text": SAYS_NO}]]
    assert answer.headers[0] == ("content-type", "application/json")
    error = API.error(request, status=403, reason="blocked", message=SAYS_NO)
    assert [each["error"]["message"] for each in json.loads(error.body)] == [SAYS_NO]


@pytest.mark.parametrize(
    ("endpoint", "call"),
    [
        ("countTokens", lambda models: models.count_tokens(model="gemma2:2b", contents="one")),
        ("batchEmbedContents", lambda models: models.embed_content(model="gemma2:2b", contents="one")),
        ("gemini_models", lambda models: models.list()),
        ("gemini_model", lambda models: models.get(model="gemma2:2b")),
    ],
)
def test_where_no_text_can_answer_the_answer_is_an_error(replay, client, endpoint, call):
    replay.says(API.answer(asked("gemini", endpoint), text=SAYS_NO))
    with pytest.raises(errors.ClientError) as raised:
        call(client.models)
    assert raised.value.message == SAYS_NO
    assert find(*replay.requests[0][:2])[1].name == endpoint


@pytest.mark.parametrize(("reason", "why"), [("blocked", "BLOCKLIST"), ("length", "MAX_TOKENS")])
@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_is_ended_ends_with_the_reason(replay, client, reason, why, after):
    seen = outcome(sent=after, captured={"id": "r1"}, usage={"input": 9, "output": 2, "reasoning": 2})
    ending = API.ending(streamed(), outcome=seen, reason=reason, message=SAYS_NO)
    replay.streams(b"".join(GEMINI[:after]) + ending, EVENTS)
    chunks = list(client.models.generate_content_stream(model="gemma2:2b", contents="Why?"))
    assert "".join(chunk.text or "" for chunk in chunks) == ("Hello " if after else "")
    last = chunks[-1]
    assert last.candidates[0].finish_reason.value == why
    assert (last.response_id, last.usage_metadata.total_token_count) == ("r1", 13)
    assert len(replay.requests) == 1


@pytest.mark.parametrize(("reason", "message"), [("blocked", SAYS_NO), ("length", None)])
async def test_a_client_of_vertex_is_understood_and_is_told_the_message_of_an_end(replay, reason, message):
    ending = API.ending(streamed(), outcome=outcome(sent=2), reason=reason, message=SAYS_NO)
    replay.streams(b"".join(GEMINI[:2]) + ending, EVENTS)
    vertex = genai.Client(vertexai=True, api_key="none", http_options={"base_url": replay.url})
    stream = await vertex.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="Why?")
    assert [chunk async for chunk in stream][-1].candidates[0].finish_message == message
    assert find(*replay.requests[0][:2])[1:] == (streamed().endpoint, "gemini-2.5-flash")


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_array_that_is_ended_is_one(after):
    sent = [json.dumps(each).encode() for each in data(GEMINI)[:after]]
    request = streamed(target="/v1beta/models/m:streamGenerateContent")
    ending = API.ending(request, outcome=outcome(sent=after), reason="blocked", message=SAYS_NO)
    whole = json.loads((b"[" if after else b"") + b",\r\n".join(sent) + ending)
    assert len(whole) == after + 1
    assert whole[-1]["candidates"][0]["finishReason"] == "BLOCKLIST"


def test_an_array_that_is_ended_before_its_first_element_is_one():
    request = streamed(target="/v1beta/models/m:streamGenerateContent")
    ending = API.ending(request, outcome=outcome(sent=0, opened=True), reason="blocked", message=SAYS_NO)
    [only] = json.loads(b"[" + ending)
    assert only["candidates"][0]["finishReason"] == "BLOCKLIST"


def test_only_candidates_that_have_not_finished_are_finished():
    seen = outcome(open_keys=(("",), ("2",)), ended_keys=(("1",),))
    ending = API.ending(streamed(choices=2), outcome=seen, reason="blocked", message="")
    assert [each["index"] for each in data([ending])[0]["candidates"]] == [0, 2]


def test_thoughts_and_results_of_tools_are_added():
    used = {"input": 9, "tool_input": 3, "cached_input": 4, "output": 5, "reasoning": 2}
    assert API.totals(used) == Totals(input=12, output=7)
