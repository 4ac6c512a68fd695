"""The shapes at work: streams of all dialects through the native filter, and its outcome back into the dialects."""

from __future__ import annotations

import json

import anthropic
import ollama
import openai
import pytest
from ai_asking import SAYS_NO
from ai_filtering import STREAMS, Stream, ended, filtered, masks
from ai_reading import at, texts, usage
from ai_samples import exchange
from ai_streams import chat_chunk, choice, data, sse
from google import genai

SIZES = [1, 7, 1 << 20]
QUESTION = [{"role": "user", "content": "Why?"}]


def documents(name: str, body: bytes) -> list[dict]:
    stream = STREAMS[name]
    if stream.framing == "array":
        return json.loads(body)
    if stream.framing == "ndjson":
        return [json.loads(line) for line in body.splitlines()]
    return data(body.split(b"\n\n"))


def said(name: str, body: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    once = tuple(lane for lane in STREAMS[name].shape.lanes if not lane.copy)
    for document in documents(name, body):
        for lane, text in texts(once, document):
            found[lane] = found.get(lane, "") + text
    return {lane: text for lane, text in found.items() if text}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", STREAMS)
def test_without_a_match_the_bytes_are_the_same_and_all_is_seen(name, size):
    stream = STREAMS[name]
    out, outcome = filtered(stream, size=size, patterns=masks("☃"))
    assert out == stream.body
    assert outcome.usage == usage(stream.shape, documents(name, stream.body))
    characters = {lane: len(text) for lane, text in said(name, stream.body).items()}
    assert {lane: count for lane, count in outcome.characters.items() if count} == characters
    assert (outcome.denied, outcome.cut, outcome.failed, outcome.unreadable) == (None, False, False, 0)
    assert outcome.done
    assert outcome.open_keys == ()


@pytest.mark.parametrize(
    ("name", "finish", "captured"),
    [
        ("ollama chat", ("length",), {"created": "2026-11-23T14:11:58.211413841Z"}),
        ("recorded chat", ("length",), {"id": "chatcmpl-268", "created": "1795443120"}),
        ("recorded completions", ("length",), {"id": "cmpl-127", "created": "1795443120"}),
        ("chat with tools", ("tool_calls", "stop"), {"id": "chatcmpl-1", "created": "1795443120"}),
        ("responses", (), {"id": "resp_1", "created": "1795443120"}),
        ("messages", ("tool_use",), {"id": "msg_1", "block": "2"}),
        ("gemini", ("STOP",), {"id": "r1"}),
        ("gemini array", ("STOP",), {"id": "r1"}),
    ],
)
def test_why_it_ended_and_what_it_is_called_is_remembered(name, finish, captured):
    _, outcome = filtered(STREAMS[name])
    assert (outcome.finish, outcome.captured) == (finish, captured)


MATCHES = {
    "ollama chat": ' more "quoted',
    "ollama generate": ' more "quoted',
    "recorded chat": ' with "quoted',
    "recorded completions": ' with "quoted',
    "chat with tools": '{"city":"Oslo"}',
    "responses": "Hello you",
    "messages": "Hello you",
    "gemini": "Hello you",
    "gemini array": "Hello you",
    "litellm chat": "lo über you",
    "litellm responses": "lo über you",
    "litellm responses with tools": '{"city":"Oslo"}',
    "litellm messages": "lo über you",
    "litellm messages with tools": '{"city":"Oslo"}',
    "litellm gemini": "lo über you",
    "litellm gemini with tools": "Oslo",
}
"""Texts that are spread over two events at least."""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", STREAMS)
def test_a_text_over_several_events_is_masked_wherever_it_stands(name, size):
    out, outcome = filtered(STREAMS[name], size=size, patterns=masks(MATCHES[name]))
    left = '{"city":"***"}' if MATCHES[name].startswith("{") else "***"  # arguments stay JSON
    expected = {lane: text.replace(MATCHES[name], left) for lane, text in said(name, STREAMS[name].body).items()}
    assert said(name, out) == expected
    assert outcome.matches == {MATCHES[name]: 1}
    assert MATCHES[name] not in json.dumps(documents(name, out), ensure_ascii=False).replace("\\", "")


@pytest.mark.parametrize("name", [name for name in STREAMS if "litellm gemini" not in name])
def test_the_model_has_the_name_that_it_shall_have(name):
    out, outcome = filtered(STREAMS[name], model="asked-for")
    assert outcome.model in {"gemma2:2b", "tiny:1b", "gpt-4o", "claude-sonnet-4-5", "gemini-2.5-flash"}
    assert outcome.model.encode() not in out
    assert b'"asked-for"' in out


@pytest.mark.parametrize("name", ["recorded chat", "chat with tools"])
def test_usage_that_the_client_did_not_ask_for_is_taken_out_again(name):
    out, outcome = filtered(STREAMS[name], strip_usage=True)
    assert outcome.usage["output"] in {4, 7}
    assert b"usage" not in out
    if name == "recorded chat":
        plain = [document["choices"] for document in exchange("v1-chat-stream").documents()]
        assert [document["choices"] for document in documents(name, out)] == plain


def chat(replay, **options):
    client = openai.OpenAI(base_url=f"{replay.url}/v1", api_key="none")
    return client.chat.completions.stream(model="m", messages=QUESTION, **options)


@pytest.mark.parametrize("size", SIZES)
def test_a_denied_chat_ends_for_its_client(replay, size):
    body = ended(STREAMS["recorded chat"], patterns=masks("quoted", action="deny"), size=size)
    with chat(replay.streams(body, "text/event-stream")) as stream:
        stream.until_done()
        answer = stream.current_completion_snapshot.choices[0]
    assert (answer.message.content, answer.finish_reason) == (' time with "', "content_filter")
    assert answer.message.refusal == SAYS_NO


@pytest.mark.parametrize(("literal", "expected"), [("No", [None, ""]), ("never", [None, "No"])])
def test_a_denied_choice_ends_the_other_one_too(replay, literal, expected):
    body = ended(STREAMS["chat with tools"], patterns=masks(literal, action="deny"), choices=2)
    with chat(replay.streams(body, "text/event-stream"), n=2) as stream:
        stream.until_done()
        choices = stream.current_completion_snapshot.choices
    assert [choice.finish_reason for choice in choices] == ["content_filter"] * 2
    assert [choice.message.content or None for choice in choices] == [each or None for each in expected]


WEATHER = b'[{"id":"no-weather","name":"weather","allow":false}]'
OSLO = b'[{"id":"no-oslo","name":"weather","arguments":[{"path":"city","regex":"Oslo"}],"allow":false}]'


@pytest.mark.parametrize("rules", [WEATHER, OSLO])
@pytest.mark.parametrize("name", [name for name in STREAMS if b'"weather"' in STREAMS[name].body])
def test_a_denied_call_of_a_tool_ends_a_stream_before_its_arguments_are_out(name, rules):
    shape = STREAMS[name].shape
    out, outcome = filtered(STREAMS[name], tools=rules)
    assert outcome.denied in {"no-weather", "no-oslo"}
    assert b"Oslo" not in out
    whole = out.rstrip(b",\r\n") + b"]" if STREAMS[name].framing == "array" else out
    called = [name for event in documents(name, whole) for call in shape.tools for _, name in at(event, call.name)]
    assert ("weather" in called) is (rules is OSLO and "gemini" not in name)


@pytest.mark.parametrize("rules", [WEATHER, OSLO])
def test_a_denied_call_of_a_tool_ends_for_the_clients(replay, rules):
    with chat(replay.streams(ended(STREAMS["chat with tools"], tools=rules), "text/event-stream")) as stream:
        stream.until_done()
        assert stream.current_completion_snapshot.choices[0].finish_reason == "content_filter"
    replay.streams(ended(STREAMS["messages"], tools=rules), "text/event-stream")
    with anthropic.Anthropic(base_url=replay.url, api_key="none").messages.stream(
        model="m", max_tokens=9, messages=QUESTION
    ) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "refusal"
    assert [block.type for block in answer.content] == ["thinking", "text", *(["tool_use"] if rules is OSLO else [])]
    replay.streams(ended(STREAMS["responses"], tools=rules), "text/event-stream")
    with openai.OpenAI(base_url=replay.url, api_key="none").responses.stream(model="m", input="?") as stream:
        events = list(stream)
    assert events[-1].type == "response.incomplete"
    assert [event.sequence_number for event in events] == list(range(len(events)))


ENDS = [({"patterns": masks("you", action="deny")}, "blocked"), ({"most_output": 1}, "length")]


@pytest.mark.parametrize(("options", "reason"), ENDS)
@pytest.mark.parametrize("size", SIZES)
def test_an_ended_message_of_anthropic_ends_for_its_client(replay, options, reason, size):
    body = ended(STREAMS["messages"], reason=reason, size=size, **options)
    replay.streams(body, "text/event-stream")
    client = anthropic.Anthropic(base_url=replay.url, api_key="none")
    with client.messages.stream(model="m", max_tokens=9, messages=QUESTION) as stream:
        events = list(stream)
        answer = stream.get_final_message()
    assert answer.stop_reason == ("refusal" if reason == "blocked" else "max_tokens")
    begun = [event.index for event in events if event.type == "content_block_start"]
    assert [event.index for event in events if event.type == "content_block_stop"] == begun


@pytest.mark.parametrize(("options", "reason"), ENDS)
@pytest.mark.parametrize("size", SIZES)
def test_an_ended_response_ends_for_its_client(replay, options, reason, size):
    replay.streams(ended(STREAMS["responses"], reason=reason, size=size, **options), "text/event-stream")
    with openai.OpenAI(base_url=replay.url, api_key="none").responses.stream(model="m", input="?") as stream:
        events = list(stream)
    why = "content_filter" if reason == "blocked" else "max_output_tokens"
    assert events[-1].response.incomplete_details.reason == why
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "you" not in "".join(event.delta for event in events if event.type == "response.output_text.delta")


@pytest.mark.parametrize("name", STREAMS)
def test_a_limit_cuts_a_stream_whether_its_server_tells_usage_early_late_or_never(name):
    _, outcome = filtered(STREAMS[name], most_output=2)
    assert outcome.cut
    assert outcome.characters != filtered(STREAMS[name])[1].characters


def test_a_choice_whose_last_piece_is_denied_is_finished(replay):
    last = sse(chat_chunk(choice({"role": "assistant", "content": "all at once"}, finish="stop")))[0]
    stream = Stream("openai_chat", "chat_completions", "sse", last + b"data: [DONE]\n\n")
    body = ended(stream, patterns=masks("at once", action="deny"))
    with chat(replay.streams(body, "text/event-stream")) as events:
        events.until_done()
        answer = events.current_completion_snapshot.choices[0]
    assert (answer.message.content, answer.finish_reason) == ("all ", "content_filter")


@pytest.mark.parametrize("pieces", [False, True])
def test_a_custom_call_is_denied_in_pieces_and_whole(pieces):
    item = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "run", "input": "rm -rf /"}
    of_call = {"item_id": "ctc_1", "output_index": 0}
    events = [
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "input": "", "name": "run"}},
        {"type": "response.custom_tool_call_input.delta", **of_call, "delta": "rm -rf /"},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]
    stream = Stream("openai_responses", "responses", "sse", b"".join(sse(*events[0 if pieces else 2 :], named=True)))
    out, outcome = filtered(stream, tools=b'[{"id":"no-run","name":"run","allow":false}]')
    assert (out, outcome.denied) == (b"", "no-run")


def test_numbers_of_events_stay_in_order_where_one_is_added(replay):
    out, outcome = filtered(STREAMS["responses"], patterns=masks("Hello you!"))
    numbers = [document["sequence_number"] for document in documents("responses", out)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == len(documents("responses", STREAMS["responses"].body)) + 1
    assert outcome.sequence == numbers[-1]
    replay.streams(out, "text/event-stream")
    with openai.OpenAI(base_url=replay.url, api_key="none").responses.stream(model="m", input="?") as stream:
        assert stream.get_final_response().output_text == "Hello you"


@pytest.mark.parametrize(("options", "reason"), ENDS)
def test_an_ended_stream_of_gemini_ends_for_its_client(replay, options, reason):
    replay.streams(ended(STREAMS["gemini"], reason=reason, **options), "text/event-stream")
    client = genai.Client(api_key="none", http_options={"base_url": replay.url})
    chunks = list(client.models.generate_content_stream(model="m", contents="?"))
    assert chunks[-1].candidates[0].finish_reason.value == ("BLOCKLIST" if reason == "blocked" else "MAX_TOKENS")
    assert len([chunk for chunk in chunks if chunk.candidates[0].finish_reason]) == 1


@pytest.mark.parametrize("size", SIZES)
def test_an_array_whose_first_word_is_denied_is_one(size):
    elements = json.loads(ended(STREAMS["gemini array"], size=size, patterns=masks("Hm", action="deny")))
    assert [element["candidates"][0]["finishReason"] for element in elements] == ["BLOCKLIST"]


@pytest.mark.parametrize(("options", "reason"), ENDS)
@pytest.mark.parametrize("size", SIZES)
def test_an_ended_array_is_one(options, reason, size):
    elements = json.loads(ended(STREAMS["gemini array"], reason=reason, size=size, **options))
    assert elements[-1]["candidates"][0]["finishReason"] == ("BLOCKLIST" if reason == "blocked" else "MAX_TOKENS")


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"patterns": masks("quoted", action="deny")}, "content_filter"), ({"most_output": 3}, "length")],
)
def test_an_ended_stream_of_ollama_ends_for_its_client(replay, options, reason):
    body = ended(STREAMS["ollama chat"], reason="length" if reason == "length" else "blocked", **options)
    replay.streams(body, "application/x-ndjson")
    parts = list(ollama.Client(replay.url).chat("m", QUESTION, stream=True))
    assert (parts[-1].done, parts[-1].done_reason) == (True, reason)
    assert "quoted" not in "".join(part.message.content for part in parts)


def test_the_tokens_of_a_generation_go_when_its_text_was_changed():
    assert b'"context"' in filtered(STREAMS["ollama generate"], patterns=masks("☃"))[0]
    assert b'"context"' not in filtered(STREAMS["ollama generate"], patterns=masks("quoted"))[0]


@pytest.mark.parametrize("name", ["api-chat-stream-runner-killed", "v1-chat-stream-runner-killed"])
def test_a_stream_that_breaks_off_goes_on_as_it_came(name):
    which = "ollama chat" if name.startswith("api") else "recorded chat"
    stream = STREAMS[which]
    broken = type(stream)(stream.dialect, stream.endpoint, stream.framing, exchange(name).body)
    out, outcome = filtered(broken, patterns=masks("☃"))
    assert out == broken.body
    assert not outcome.done
    assert outcome.failed is name.startswith("api")
