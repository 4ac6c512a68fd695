"""Responses as the client of OpenAI takes them: errors, answers, and ends of streams."""

from __future__ import annotations

import openai
import pytest
from ai_asking import SAYS_NO, asked, dialect, outcome
from ai_streams import RESPONSES
from openai import AsyncOpenAI, OpenAI

from kube_gateway.ai.dialects import find

API = dialect("openai_responses")
QUESTION = {"model": "gemma2:2b", "input": "Why?"}


def client(replay, kind=OpenAI):
    return kind(base_url=f"{replay.url}/v1", api_key="none")


def an(**options):
    return asked("openai_responses", "responses", **options)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_is_raised_once(replay, stream):
    replay.says(API.error(an(streaming=stream), status=403, reason="model_denied", message=SAYS_NO))
    with pytest.raises(openai.PermissionDeniedError) as raised:
        await client(replay, AsyncOpenAI).responses.create(**QUESTION, stream=stream)
    assert raised.value.code == "kube_gateway_model_denied"
    assert len(replay.requests) == 1


def test_an_answer_is_a_completed_response_with_the_text(replay):
    replay.says(API.answer(an(), text=SAYS_NO))
    answer = client(replay).responses.create(**QUESTION)
    assert (answer.output_text, answer.status, answer.model) == (SAYS_NO, "completed", "gemma2:2b")
    assert answer.usage.total_tokens == 0
    assert answer.id.startswith("resp_")


def test_a_streamed_answer_tells_the_text_as_often_as_the_api_does(replay):
    reply = API.answer(an(streaming=True), text=SAYS_NO)
    events = list(client(replay.says(reply)).responses.create(**QUESTION, stream=True))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(9))
    assert reply.body.count(SAYS_NO.encode()) == 5


async def test_the_helper_that_adds_a_stream_up_gets_a_streamed_answer(replay):
    replay.says(API.answer(an(streaming=True), text=SAYS_NO))
    async with client(replay, AsyncOpenAI).responses.stream(**QUESTION) as stream:
        answer = await stream.get_final_response()
    assert answer.output_text == SAYS_NO


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_of_the_background_is_found_and_answered(replay, stream):
    request = asked("openai_responses", "responses_get", streaming=stream, target="/v1/responses/resp_1?stream=true")
    replay.says(API.answer(request, text=SAYS_NO))
    answer = client(replay).responses.retrieve("resp_1", stream=stream)
    response = list(answer)[-1].response if stream else answer
    assert (response.id, response.output_text) == ("resp_1", SAYS_NO)
    method, target, _ = replay.requests[0]
    found, endpoint, _ = find(method, target)
    assert (found, endpoint.name, endpoint.streams) == (API, "responses_get", "by_query")
    assert ("stream=true" in target) is stream


def test_where_no_text_can_answer_the_answer_is_an_error(replay):
    replay.says(API.answer(asked("openai_responses", "responses_input_tokens"), text=SAYS_NO))
    with pytest.raises(openai.PermissionDeniedError):
        client(replay).responses.input_tokens.count(**QUESTION)
    assert find(*replay.requests[0][:2])[1].name == "responses_input_tokens"


ENDS = [("blocked", "content_filter", SAYS_NO), ("length", "max_output_tokens", None)]


def ended(*, after: int, reason: str) -> bytes:
    captured = {"id": "resp_1", "created": "1795443120"} if after else {}
    seen = outcome(captured=captured, sequence=after - 1 if after else None, sent=after)
    return b"".join(RESPONSES[:after]) + API.ending(an(streaming=True), outcome=seen, reason=reason, message=SAYS_NO)


@pytest.mark.parametrize(("reason", "why", "message"), ENDS)
@pytest.mark.parametrize("after", [0, 4, 11, 17])
def test_a_stream_that_is_ended_ends_incomplete_with_the_reason(replay, reason, why, message, after):
    replay.streams(ended(after=after, reason=reason), "text/event-stream")
    events = list(client(replay).responses.create(**QUESTION, stream=True))
    last = events[-1]
    assert (last.type, last.response.status) == ("response.incomplete", "incomplete")
    assert last.response.incomplete_details.reason == why
    assert (last.response.error.message if message else last.response.error) == message
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert len(events) == after + (1 if after else 2)
    assert len(replay.requests) == 1


@pytest.mark.parametrize("after", [0, 4, 11, 17])
async def test_the_helper_that_adds_a_stream_up_takes_its_end(replay, after):
    replay.streams(ended(after=after, reason="blocked"), "text/event-stream")
    async with client(replay, AsyncOpenAI).responses.stream(**QUESTION) as stream:
        events = [event async for event in stream]
    assert events[-1].type == "response.incomplete"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == (
        {11: "Hello ", 17: "Hello you"}.get(after, "")
    )
    assert events[-1].response.output_text == ""


def test_a_stream_that_was_taken_up_later_is_ended_by_the_id_that_was_asked_for(replay):
    request = asked("openai_responses", "responses_get", streaming=True, target="/v1/responses/resp_1?starting_after=9")
    ending = API.ending(request, outcome=outcome(sequence=11, sent=2), reason="blocked", message=SAYS_NO)
    replay.streams(b"".join(RESPONSES[10:12]) + ending, "text/event-stream")
    events = list(client(replay).responses.retrieve("resp_1", stream=True, starting_after=9))
    assert [event.sequence_number for event in events] == [10, 11, 12]
    assert events[-1].response.id == "resp_1"


def test_an_ending_tells_the_usage_that_is_known():
    seen = outcome(captured={"id": "resp_1"}, usage={"input": 9, "output": 7, "reasoning": 2})
    ending = API.ending(an(streaming=True), outcome=seen, reason="length", message="")
    assert b'"total_tokens":16' in ending
    assert b'"reasoning_tokens":2' in ending
