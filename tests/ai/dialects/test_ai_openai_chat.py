"""Chat completions as the client of OpenAI takes them: errors of the right class, once; answers; ends of streams."""

from __future__ import annotations

import json

import openai
import pytest
from ai_asking import REASONS, SAYS_NO, asked, dialect, outcome
from ai_samples import exchange
from openai import AsyncOpenAI, OpenAI

CHAT = dialect("openai_chat")
QUESTION = {"model": "gemma2:2b", "messages": [{"role": "user", "content": "Why?"}]}
CLASSES = {
    400: openai.BadRequestError,
    403: openai.PermissionDeniedError,
    413: openai.APIStatusError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}
CODES = {"budget_exhausted": "insufficient_quota", "rate_limited": "rate_limit_exceeded"}


def client(replay, kind=OpenAI):
    return kind(base_url=f"{replay.url}/v1", api_key="none")


def an(**options):
    return asked("openai_chat", "chat_completions", **options)


@pytest.mark.parametrize(("reason", "status"), REASONS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_raised_once_as_the_class_of_its_status(replay, reason, status, stream):
    replay.says(CHAT.error(an(streaming=stream), status=status, reason=reason, message=SAYS_NO))
    with pytest.raises(openai.APIStatusError) as raised:
        client(replay).chat.completions.create(**QUESTION, stream=stream)
    assert type(raised.value) is CLASSES[status]
    assert raised.value.code == CODES.get(reason, f"kube_gateway_{reason}")
    assert raised.value.body["message"] == SAYS_NO
    assert len(replay.requests) == 1


async def test_an_error_is_raised_once_by_the_asynchronous_client(replay):
    replay.says(CHAT.error(an(), status=429, reason="rate_limited", message=SAYS_NO, retry_after=3))
    with pytest.raises(openai.RateLimitError) as raised:
        await client(replay, AsyncOpenAI).chat.completions.create(**QUESTION)
    assert raised.value.response.headers["retry-after"] == "3"
    assert raised.value.type == "rate_limit_error"
    assert len(replay.requests) == 1


@pytest.mark.parametrize("choices", [1, 3])
def test_an_answer_says_the_text_in_every_choice(replay, choices):
    replay.says(CHAT.answer(an(choices=choices), text=SAYS_NO))
    answer = client(replay).chat.completions.create(**QUESTION, n=choices)
    assert [choice.message.content for choice in answer.choices] == [SAYS_NO] * choices
    assert [choice.index for choice in answer.choices] == list(range(choices))
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert (answer.model, answer.object, answer.usage.total_tokens) == ("gemma2:2b", "chat.completion", 0)
    assert answer.id.startswith("chatcmpl-kg-")


@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("usage", [False, True])
def test_a_streamed_answer_says_it_in_every_choice_and_tells_usage_if_asked(replay, choices, usage):
    reply = CHAT.answer(an(streaming=True, choices=choices, wants_usage=usage), text=SAYS_NO)
    chunks = list(client(replay.says(reply)).chat.completions.create(**QUESTION, stream=True))
    said = dict.fromkeys(range(choices), "")
    for chunk in chunks:
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
    assert said == dict.fromkeys(range(choices), SAYS_NO)
    assert [chunk.usage.total_tokens for chunk in chunks if not chunk.choices] == [0] * usage
    assert all("usage" in chunk.model_fields_set for chunk in chunks) is usage
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert len({chunk.id for chunk in chunks}) == 1


def test_the_helper_that_adds_a_stream_up_gets_a_streamed_answer(replay):
    replay.says(CHAT.answer(an(streaming=True, choices=2), text=SAYS_NO))
    with client(replay).chat.completions.stream(**QUESTION, n=2) as stream:
        stream.until_done()
        answer = stream.get_final_completion()
    assert [choice.message.content for choice in answer.choices] == [SAYS_NO, SAYS_NO]
    assert [choice.message.role for choice in answer.choices] == ["assistant", "assistant"]


def cut(*, after: int, ending: bytes) -> bytes:
    return b"".join(exchange("v1-chat-stream").events()[:after]) + ending


@pytest.mark.parametrize(
    ("reason", "finish", "refusal"), [("blocked", "content_filter", SAYS_NO), ("length", "length", None)]
)
@pytest.mark.parametrize("after", [0, 2])
def test_a_stream_that_is_ended_ends_with_the_reason(replay, reason, finish, refusal, after):
    captured = {"id": "chatcmpl-944", "created": "1795443120"} if after else {}
    seen = outcome(captured=captured, sent=after, open_keys=(("0",),))
    ending = CHAT.ending(an(streaming=True), outcome=seen, reason=reason, message=SAYS_NO)
    replay.streams(cut(after=after, ending=ending), "text/event-stream")
    with client(replay).chat.completions.stream(**QUESTION) as stream:
        events = list(stream)
        answer = stream.current_completion_snapshot
    assert {"refusal.done", "content.done"} & {event.type for event in events} == {
        *(["refusal.done"] if refusal else []),
        *(["content.done"] if after else []),
    }
    assert len(answer.choices) == 1
    assert (answer.choices[0].message.content or "") == (" time with" if after else "")
    assert answer.choices[0].message.refusal == refusal
    assert answer.choices[0].finish_reason == finish
    assert len(replay.requests) == 1


@pytest.mark.parametrize(
    ("reason", "error"),
    [("blocked", openai.ContentFilterFinishReasonError), ("length", openai.LengthFinishReasonError)],
)
def test_the_helper_that_wants_a_finished_answer_says_why_it_is_none(replay, reason, error):
    ending = CHAT.ending(an(streaming=True), outcome=outcome(open_keys=(("0",),)), reason=reason, message=SAYS_NO)
    replay.streams(cut(after=2, ending=ending), "text/event-stream")
    with client(replay).chat.completions.stream(**QUESTION) as stream, pytest.raises(error) as raised:
        stream.get_final_completion()
    assert raised.value.completion.choices[0].message.content == " time with"


async def test_an_ended_stream_ends_for_the_asynchronous_client_and_is_of_one_piece(replay):
    seen = outcome(captured={"id": "chatcmpl-944", "created": "1795443120"}, sent=2, open_keys=(("0",),))
    ending = CHAT.ending(an(streaming=True), outcome=seen, reason="blocked", message="")
    replay.streams(cut(after=2, ending=ending), "text/event-stream")
    stream = await client(replay, AsyncOpenAI).chat.completions.create(**QUESTION, stream=True)
    chunks = [chunk async for chunk in stream]
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {("chatcmpl-944", 1795443120, "gemma2:2b")}
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, "content_filter"]


def test_only_choices_that_have_not_finished_are_finished():
    seen = outcome(open_keys=(("0",), ("2", "0")), ended_keys=(("1",),))
    ending = CHAT.ending(an(streaming=True, choices=4), outcome=seen, reason="blocked", message=SAYS_NO)
    chunks = [json.loads(each.removeprefix(b"data: ")) for each in ending.split(b"\n\n")[:-2]]
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 2, 3]


def test_nobody_gets_more_choices_than_the_api_gives():
    request = an(streaming=True, choices=10**9)
    assert CHAT.answer(request, text="").body.count(b'"finish_reason":"stop"') == 128
    assert CHAT.ending(request, outcome=outcome(), reason="length", message="").count(b'"length"') == 128


@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_an_ending_tells_usage_if_it_was_asked_for_and_is_known(wanted, known):
    seen = outcome(usage={"input": 23, "output": 4} if known else {})
    ending = CHAT.ending(an(streaming=True, wants_usage=wanted), outcome=seen, reason="length", message="")
    assert (b'"usage":{"prompt_tokens":23,"completion_tokens":4,"total_tokens":27}' in ending) is (wanted and known)


def test_a_text_that_utf8_cannot_hold_goes_out_as_an_escape():
    assert b"\\ud800" in CHAT.answer(an(), text="\ud800").body
