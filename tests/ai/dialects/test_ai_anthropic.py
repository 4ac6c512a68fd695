"""Messages as the client of Anthropic takes them: errors of the right class, once; answers; ends of streams."""

from __future__ import annotations

import anthropic
import pytest
from ai_asking import REASONS, SAYS_NO, asked, dialect, outcome
from ai_streams import MESSAGES
from anthropic import Anthropic, AsyncAnthropic

from kube_gateway.ai.dialect import Totals

API = dialect("anthropic")
QUESTION = {"model": "gemma2:2b", "max_tokens": 64, "messages": [{"role": "user", "content": "Why?"}]}
CLASSES = {
    400: anthropic.BadRequestError,
    403: anthropic.PermissionDeniedError,
    413: anthropic.RequestTooLargeError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    503: anthropic.ServiceUnavailableError,
}


def client(replay, kind=Anthropic):
    return kind(base_url=replay.url, api_key="none")


def an(**options):
    return asked("anthropic", "messages", **options)


@pytest.mark.parametrize(("reason", "status"), REASONS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_raised_once_as_the_class_of_its_status(replay, reason, status, stream):
    replay.says(API.error(an(streaming=stream), status=status, reason=reason, message=SAYS_NO))
    with pytest.raises(anthropic.APIStatusError) as raised:
        client(replay).messages.create(**QUESTION, stream=stream)
    assert type(raised.value) is CLASSES[status]
    assert raised.value.error_code == f"kube_gateway_{reason}"
    assert raised.value.api_message == SAYS_NO
    assert len(replay.requests) == 1


async def test_an_error_is_raised_once_by_the_asynchronous_client(replay):
    replay.says(API.error(an(), status=429, reason="rate_limited", message=SAYS_NO, retry_after=3))
    with pytest.raises(anthropic.RateLimitError) as raised:
        await client(replay, AsyncAnthropic).messages.create(**QUESTION)
    assert raised.value.response.headers["retry-after"] == "3"
    assert raised.value.type == "rate_limit_error"
    assert len(replay.requests) == 1


def test_an_answer_is_a_message_with_the_text(replay):
    replay.says(API.answer(an(), text=SAYS_NO))
    answer = client(replay).messages.create(**QUESTION)
    assert [block.text for block in answer.content] == [SAYS_NO]
    assert (answer.stop_reason, answer.model, answer.role) == ("end_turn", "gemma2:2b", "assistant")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (0, 0)


def test_a_streamed_answer_comes_in_full_order(replay):
    replay.says(API.answer(an(streaming=True), text=SAYS_NO))
    events = list(client(replay).messages.create(**QUESTION, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_the_helper_that_adds_a_stream_up_gets_a_streamed_answer(replay):
    replay.says(API.answer(an(streaming=True), text=SAYS_NO))
    async with client(replay, AsyncAnthropic).messages.stream(**QUESTION) as stream:
        assert [text async for text in stream.text_stream] == [SAYS_NO]
        assert (await stream.get_final_message()).stop_reason == "end_turn"


def test_where_no_text_can_answer_the_answer_is_an_error(replay):
    replay.says(API.answer(asked("anthropic", "count_tokens"), text=SAYS_NO))
    with pytest.raises(anthropic.PermissionDeniedError):
        client(replay).messages.count_tokens(model="gemma2:2b", messages=QUESTION["messages"])
    assert len(replay.requests) == 1


CUTS = {
    0: (None, ()),
    1: (None, ()),
    4: ("0", ()),
    6: ("0", (("0",),)),
    7: ("1", (("0",),)),
    8: ("1", (("0",),)),
    12: ("2", (("0",), ("1",))),
}
"""How many events went out, the last block among them, and the blocks that had ended."""


def ended(*, after: int, reason: str) -> bytes:
    block, ends = CUTS[after]
    captured = {**({"id": "msg_1"} if after else {}), **({"block": block} if block else {})}
    seen = outcome(captured=captured, ended_keys=ends, sent=after, characters={"output": 9}, usage={"output": 1})
    return b"".join(MESSAGES[:after]) + API.ending(an(streaming=True), outcome=seen, reason=reason, message=SAYS_NO)


@pytest.mark.parametrize(("reason", "why"), [("blocked", "refusal"), ("length", "max_tokens")])
@pytest.mark.parametrize("after", CUTS)
def test_a_stream_that_is_ended_ends_with_the_reason(replay, reason, why, after):
    replay.streams(ended(after=after, reason=reason), "text/event-stream")
    with client(replay).messages.stream(**QUESTION) as stream:
        events = [event for event in stream if event.type.startswith(("message", "content_block"))]
        answer = stream.get_final_message()
    assert answer.stop_reason == why
    assert (answer.stop_details.explanation if why == "refusal" else answer.stop_details) == (
        SAYS_NO if why == "refusal" else None
    )
    assert "".join(block.text for block in answer.content if block.type == "text") == {
        8: "Hello ",
        12: "Hello you",
    }.get(after, "")
    begun = [event.index for event in events if event.type == "content_block_start"]
    assert [event.index for event in events if event.type == "content_block_stop"] == begun
    assert [event.type for event in events][-2:] == ["message_delta", "message_stop"]
    assert answer.usage.output_tokens == 3
    assert len(replay.requests) == 1


async def test_an_ended_stream_ends_for_the_asynchronous_client(replay):
    replay.streams(ended(after=8, reason="blocked"), "text/event-stream")
    stream = await client(replay, AsyncAnthropic).messages.create(**QUESTION, stream=True)
    assert [event.type async for event in stream][-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_tokens_of_the_cache_are_added_to_the_input():
    used = {"input": 9, "cached_input": 4, "cache_creation_input": 2, "output": 7, "reasoning": 3}
    assert API.totals(used) == Totals(input=15, output=7)
