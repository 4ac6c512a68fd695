"""Ollama's own API as its client takes it: errors, once; answers; ends of streams."""

from __future__ import annotations

import json

import ollama
import pytest
from ai_asking import REASONS, SAYS_NO, asked, dialect, outcome
from ai_samples import exchange

OLLAMA = dialect("ollama")
MESSAGES = [{"role": "user", "content": "Why?"}]
LINES = "application/x-ndjson"


@pytest.mark.parametrize(("reason", "status"), REASONS)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_raised_once_with_its_status(replay, reason, status, stream):
    replay.says(OLLAMA.error(asked("ollama", "chat", streaming=stream), status=status, reason=reason, message=SAYS_NO))
    with pytest.raises(ollama.ResponseError) as raised:
        answer = ollama.Client(replay.url).chat("gemma2:2b", MESSAGES, stream=stream)
        list(answer)
    assert (raised.value.error, raised.value.status_code) == (SAYS_NO, status)
    assert len(replay.requests) == 1


async def test_an_error_is_raised_once_by_the_asynchronous_client(replay):
    replay.says(OLLAMA.error(asked("ollama", "generate"), status=429, reason="rate_limited", message="", retry_after=9))
    with pytest.raises(ollama.ResponseError):
        await ollama.AsyncClient(replay.url).generate("tiny:1b", "Why?")
    assert ("retry-after", "9") in replay.reply.headers
    assert len(replay.requests) == 1


@pytest.mark.parametrize("name", ["embed", "embeddings", "tags", "ps", "show", "pull", "delete"])
def test_where_no_text_can_answer_the_answer_is_an_error(replay, name):
    replay.says(OLLAMA.answer(asked("ollama", name), text=SAYS_NO))
    client = ollama.Client(replay.url)
    calls = {
        "embed": lambda: client.embed("tiny:1b", "one"),
        "embeddings": lambda: client.embeddings("tiny:1b", "one"),
        "tags": client.list,
        "ps": client.ps,
        "show": lambda: client.show("tiny:1b"),
        "pull": lambda: client.pull("tiny:1b"),
        "delete": lambda: client.delete("tiny:1b"),
    }
    with pytest.raises(ollama.ResponseError) as raised:
        calls[name]()
    assert raised.value.error == SAYS_NO


def test_an_answer_has_the_members_of_a_recorded_one(replay):
    for endpoint, name in (("chat", "api-chat"), ("generate", "api-generate")):
        made = json.loads(OLLAMA.answer(asked("ollama", endpoint), text=SAYS_NO).body)
        assert made.keys() == exchange(name).answered().keys() - {"context"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_answered_with_the_text(replay, stream):
    reply = OLLAMA.answer(asked("ollama", "chat", streaming=stream), text=SAYS_NO)
    answer = ollama.Client(replay.says(reply).url).chat("gemma2:2b", MESSAGES, stream=stream)
    parts = list(answer) if stream else [answer]
    assert "".join(part.message.content for part in parts) == SAYS_NO
    assert [part.done for part in parts] == ([False, True] if stream else [True])
    assert (parts[-1].done_reason, parts[-1].eval_count, parts[-1].model) == ("stop", 0, "gemma2:2b")
    assert dict(reply.headers)["content-type"] == (LINES if stream else "application/json")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_generation_is_answered_with_the_text(replay, stream):
    replay.says(OLLAMA.answer(asked("ollama", "generate", streaming=stream), text=SAYS_NO))
    answer = await ollama.AsyncClient(replay.url).generate("tiny:1b", "Why?", stream=stream)
    parts = [part async for part in answer] if stream else [answer]
    assert "".join(part.response for part in parts) == SAYS_NO
    assert parts[-1].done_reason == "stop"


@pytest.mark.parametrize(("reason", "finish"), [("blocked", "content_filter"), ("length", "length")])
@pytest.mark.parametrize(("endpoint", "name"), [("chat", "api-chat-stream"), ("generate", "api-generate-stream")])
def test_a_stream_that_is_ended_ends_with_the_reason(replay, endpoint, name, reason, finish):
    request = asked("ollama", endpoint, streaming=True)
    ending = OLLAMA.ending(request, outcome=outcome(sent=2), reason=reason, message=SAYS_NO)
    replay.streams(b"".join(exchange(name).events()[:2]) + ending, LINES)
    client = ollama.Client(replay.url)
    call = {"chat": lambda: client.chat("gemma2:2b", MESSAGES, stream=True)}.get(
        endpoint, lambda: client.generate("tiny:1b", "Why?", stream=True)
    )
    parts = list(call())
    said = [part.message.content if endpoint == "chat" else part.response for part in parts]
    assert "".join(said) == " this more"
    assert (parts[-1].done, parts[-1].done_reason) == (True, finish)
    assert [part.done for part in parts[:-1]] == [False, False]


async def test_an_ended_stream_ends_for_the_asynchronous_client_with_the_counts_that_are_known(replay):
    request = asked("ollama", "chat", streaming=True)
    ending = OLLAMA.ending(request, outcome=outcome(usage={"input": 23, "output": 4}), reason="length", message="")
    replay.streams(ending, LINES)
    parts = [part async for part in await ollama.AsyncClient(replay.url).chat("gemma2:2b", MESSAGES, stream=True)]
    assert (parts[-1].prompt_eval_count, parts[-1].eval_count) == (23, 4)
