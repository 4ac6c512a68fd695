"""However a stream is cut into packets, and a text into events: what clients read is the mask of the whole text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import (
    CUTS,
    MASKED,
    TEXTS,
    cut,
    in_pieces,
    interleaved,
    outcome,
    patterns,
    plan,
    run,
    sse,
    whole_text,
    written,
)

from kube_gateway.ai.detect import DETECTORS
from kube_gateway.ai.dialects import _anthropic_shapes, _gemini_shapes, _openai_chat_shapes, _openai_responses_shapes
from kube_gateway.ai.dialects.ollama import DIALECT as OLLAMA
from kube_gateway.ai.dialects.openai_completions import DIALECT as COMPLETIONS
from properties import cases

MASK = patterns(*MASKED)
ESCAPED_LANES = ("output", "tool_arguments")
# Where the data of an event may go on in another line.
BREAK = "\x1f"
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])

CHAT = plan(_openai_chat_shapes.STREAM, mask=MASK, lanes=ESCAPED_LANES)
ANTHROPIC = plan(_anthropic_shapes.STREAM, mask=MASK, lanes=ESCAPED_LANES)
RESPONSES = plan(_openai_responses_shapes.STREAM, mask=MASK, lanes=ESCAPED_LANES)
GEMINI = plan(_gemini_shapes.STREAM, mask=MASK, lanes=ESCAPED_LANES)
LEGACY = plan(COMPLETIONS.endpoints[0].stream, mask=MASK, lanes=ESCAPED_LANES)
OLLAMA_CHAT = plan(OLLAMA.endpoints[0].stream, mask=MASK, lanes=ESCAPED_LANES)


def masked(text: str) -> str:
    return MASK.mask(whole_text([text]))[0]


@st.composite
def framed(draw: st.DrawFn, events: list[tuple[str, str]]) -> bytes:
    """Write events as server-sent events in any of the ways that are allowed."""
    end = draw(LINE_ENDS)
    space = draw(st.sampled_from(["", " "]))
    comments = draw(st.lists(st.integers(0, 30), max_size=3))
    out = ["\ufeff" if draw(st.booleans()) else ""]
    for index, (kind, data) in enumerate(events):
        if index in comments:
            out.append(f": keep-alive{end}" + (end if index % 2 else ""))
        if kind:
            out.append(f"event:{space}{kind}{end}")
        # A line break may stand wherever white space may.
        for line in data.split(BREAK):
            out.append(f"data:{space}{line}{end}")
        out.append(end)
    return "".join(out).encode()


@cases(700)
@given(st.data(), st.lists(TEXTS, min_size=1, max_size=3))
def test_choices_of_a_chat_are_masked_each_on_its_own(data, texts):
    queues = [data.draw(in_pieces(text)) for text in texts]
    events = []
    for index, piece in interleaved(data.draw, queues):
        string = data.draw(written(piece))
        delta = f'{{"index":{index},{BREAK}"delta":{{"content":{string}}},"finish_reason":null}}'
        events.append(f'{{"choices":{BREAK}[{delta}]}}')
    for index in range(len(texts)):
        events.append(f'{{"choices":[{{"index":{index},"delta":{{}},"finish_reason":"stop"}}]}}')
    stream = data.draw(framed([*(("", event) for event in events), ("", "[DONE]")]))
    out = sse(run(CHAT.start(framing="sse"), cut(stream, data.draw(CUTS))))
    assert out[-1][1] == "[DONE]"
    said: list[list[str]] = [[] for _ in texts]
    finished = set()
    for _, event in out[:-1]:
        for choice in json.loads(event)["choices"]:
            assert choice["index"] not in finished, "text after the end of its choice"
            said[choice["index"]].append(choice["delta"].get("content", ""))
            if choice["finish_reason"]:
                finished.add(choice["index"])
    assert [whole_text(pieces) for pieces in said] == [masked(text) for text in texts]


@cases(500)
@given(st.data(), TEXTS)
def test_what_is_held_goes_out_with_the_event_that_ends_the_text(data, text):
    pieces = data.draw(in_pieces(text))
    lines = [
        f'{{"message":{{"role":"assistant","content":{data.draw(written(piece))}}},'
        f'"done":{"true" if index == len(pieces) - 1 else "false"}}}'
        for index, piece in enumerate(pieces)
    ]
    end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    stream = end.join(lines) + (end if data.draw(st.booleans()) else "")
    out = run(OLLAMA_CHAT.start(framing="ndjson"), cut(stream.encode(), data.draw(CUTS)))
    events = [json.loads(line) for line in out.splitlines() if line.strip()]
    assert len(events) == len(pieces)
    assert whole_text(event["message"]["content"] for event in events) == masked(text)


@cases(500)
@given(st.data(), TEXTS, TEXTS)
def test_blocks_of_a_message_are_masked_and_end_before_they_are_stopped(data, text, arguments):
    inner = json.dumps({"x": arguments})
    events = [("message_start", '{"type":"message_start","message":{"model":"m"}}')]
    queues = [data.draw(in_pieces(text)), data.draw(in_pieces(inner))]
    for index, piece in interleaved(data.draw, queues):
        kind, member = [("text_delta", "text"), ("input_json_delta", "partial_json")][index]
        string = data.draw(written(piece))
        delta = f'{{"type":"content_block_delta","index":{index},"delta":{{"type":"{kind}","{member}":{string}}}}}'
        events.append(("content_block_delta", delta))
    events += [("content_block_stop", f'{{"type":"content_block_stop","index":{index}}}') for index in range(2)]
    events.append(("message_stop", '{"type":"message_stop"}'))
    out = sse(run(ANTHROPIC.start(framing="sse"), cut(data.draw(framed(events)), data.draw(CUTS))))
    said: list[list[str]] = [[], []]
    stopped = set()
    for kind, raw in out:
        event = json.loads(raw)
        assert kind == event["type"]
        if kind == "content_block_delta":
            assert event["index"] not in stopped
            said[event["index"]].append(event["delta"].get("text", event["delta"].get("partial_json")))
        elif kind == "content_block_stop":
            stopped.add(event["index"])
    assert whole_text(said[0]) == masked(text)
    assert whole_text(said[1]) == MASK.mask(inner, escaped=True)[0]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"card": 4111111111111111, "n": -12}', '{"card": "[card]", "n": -12}'),
        ('{"n":[true,4111111111111111]}', '{"n":[true,"[card]"]}'),
        ("4111111111111111", '"[card]"'),
        ("12", "12"),
    ],
)
def test_a_number_in_arguments_becomes_a_string_wherever_it_is_cut(arguments, expected, size):
    filtering = plan(_openai_chat_shapes.STREAM, mask=patterns(DETECTORS["card"].pattern()), lanes=ESCAPED_LANES).start(
        framing="sse"
    )
    call = '{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":%s}}]}}]}'
    pieces = [call % json.dumps(arguments[at : at + size]) for at in range(0, len(arguments), size)]
    end = '{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}'
    out = sse(run(filtering, [f"data: {each}\n\n".encode() for each in (*pieces, end)]))
    deltas = [json.loads(raw)["choices"][0]["delta"] for _, raw in out]
    assert "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas[:-1]) == expected
    assert deltas[-1] == {}


@cases(500)
@given(st.data(), TEXTS)
def test_all_copies_in_a_response_say_the_same_and_numbers_stay_in_order(data, text):
    place = '"item_id":"i","output_index":0,"content_index":0'
    pieces = data.draw(in_pieces(text))
    bodies = [("response.output_text.delta", f'{place},"delta":{data.draw(written(piece))}') for piece in pieces]
    part = f'{{"type":"output_text","text":{data.draw(written(text))}}}'
    item = f'{{"type":"message","content":[{part}]}}'
    bodies += [
        ("response.output_text.done", f'{place},"text":{data.draw(written(text))}'),
        ("response.content_part.done", f'{place},"part":{part}'),
        ("response.output_item.done", f'"output_index":0,"item":{item}'),
        ("response.completed", f'"response":{{"output":[{item}]}}'),
    ]
    events = [
        (kind, f'{{"type":"{kind}","sequence_number":{number},{body}}}') for number, (kind, body) in enumerate(bodies)
    ]
    filtering = RESPONSES.start(framing="sse")
    out = [json.loads(raw) for _, raw in sse(run(filtering, cut(data.draw(framed(events)), data.draw(CUTS))))]
    assert [event["sequence_number"] for event in out] == list(range(len(out)))
    kinds = [event["type"] for event in out]
    assert kinds[-4:] == [kind for kind, _ in bodies[-4:]] and set(kinds[:-4]) == {"response.output_text.delta"}
    done, part_done, item_done, completed = out[-4:]
    expected = masked(text)
    assert whole_text(event["delta"] for event in out[:-4]) == expected
    assert whole_text([done["text"]]) == expected
    assert whole_text([part_done["part"]["text"]]) == expected
    assert whole_text([item_done["item"]["content"][0]["text"]]) == expected
    assert whole_text([completed["response"]["output"][0]["content"][0]["text"]]) == expected
    matches = MASK.mask(whole_text([text]))[1]
    assert outcome(filtering).matches == matches


@cases(500)
@given(st.data(), TEXTS, st.booleans())
def test_elements_of_an_array_are_masked_and_stay_an_array(data, text, with_end):
    pieces = data.draw(in_pieces(text))
    elements = [
        f'{{"candidates":[{{"content":{{"parts":[{{"text":{data.draw(written(piece))}}}]}}}}]}}' for piece in pieces
    ]
    if with_end:
        elements.append('{"candidates":[{"finishReason":"STOP"}]}')
    between, end = data.draw(st.sampled_from([(",", "]"), (",\r\n", "\n]"), ("\n,\n", "]\n")]))
    stream = f"[{between.join(elements)}{end}"
    out = json.loads(run(GEMINI.start(framing="array"), cut(stream.encode(), data.draw(CUTS))))
    parts = [part for event in out for part in event["candidates"][0].get("content", {}).get("parts", [])]
    assert whole_text(part["text"] for part in parts) == masked(text)
    if with_end:
        assert "finishReason" in out[-1]["candidates"][0]


@cases(400)
@given(st.data(), TEXTS)
def test_the_same_holds_for_server_sent_events_that_only_stop(data, text):
    events = [
        ("", f'{{"candidates":[{{"content":{{"parts":[{{"text":{data.draw(written(piece))}}}]}}}}]}}')
        for piece in data.draw(in_pieces(text))
    ]
    out = sse(run(GEMINI.start(framing="sse"), cut(data.draw(framed(events)), data.draw(CUTS))))
    said = (json.loads(raw)["candidates"][0]["content"]["parts"][0]["text"] for _, raw in out)
    assert whole_text(said) == masked(text)


@cases(400)
@given(st.data(), st.lists(TEXTS, min_size=1, max_size=2))
def test_legacy_completions_are_masked(data, texts):
    queues = [data.draw(in_pieces(text)) for text in texts]
    events = [
        ("", f'{{"choices":[{{"index":{index},"text":{data.draw(written(piece))}}}]}}')
        for index, piece in interleaved(data.draw, queues)
    ]
    stream = data.draw(framed([*events, ("", "[DONE]")]))
    out = sse(run(LEGACY.start(framing="sse"), cut(stream, data.draw(CUTS))))
    choices = [choice for _, raw in out[:-1] for choice in json.loads(raw)["choices"]]
    for index, text in enumerate(texts):
        assert whole_text(choice["text"] for choice in choices if choice["index"] == index) == masked(text)


@cases(500)
@given(st.data(), st.lists(TEXTS, min_size=1, max_size=3))
def test_arguments_of_calls_are_masked_as_the_json_that_they_are(data, values):
    sources = [json.dumps({"value": value}, ensure_ascii=data.draw(st.booleans())) for value in values]
    events = []
    begun = set()
    by_index = data.draw(st.booleans())
    for call, piece in (
        interleaved(data.draw, [data.draw(in_pieces(source)) for source in sources])
        if by_index
        else ((call, piece) for call, source in enumerate(sources) for piece in data.draw(in_pieces(source)))
    ):
        first = f'"id":"call-{call}","type":"function",' if call not in begun else ""
        name = '"name":"f",' if call not in begun else ""
        begun.add(call)
        # Some servers give all calls the index 0: then a new id begins a new call.
        index = call if by_index else 0
        arguments = data.draw(written(piece))
        function = f'{{{first}"index":{index},"function":{{{name}"arguments":{arguments}}}}}'
        events.append(("", f'{{"choices":[{{"index":0,"delta":{{"tool_calls":[{function}]}},"finish_reason":null}}]}}'))
    events.append(("", '{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}'))
    out = sse(run(CHAT.start(framing="sse"), cut(data.draw(framed(events)), data.draw(CUTS))))
    calls: list[list[str]] = []
    by_place: dict[int, list[str]] = {}
    for _, raw in out:
        for delta in json.loads(raw)["choices"][0]["delta"].get("tool_calls", []):
            if "id" in delta:
                by_place[delta["index"]] = []
                calls.append(by_place[delta["index"]])
            by_place[delta["index"]].append(delta["function"]["arguments"])
    got = sorted(whole_text(pieces) for pieces in calls)
    assert got == sorted(MASK.mask(whole_text([source]), escaped=True)[0] for source in sources)


@cases(500)
@given(st.data(), st.lists(TEXTS, min_size=1, max_size=3))
def test_whole_answers_are_masked_string_by_string(data, texts):
    choices = ",".join(f'{{"message":{{"content":{data.draw(written(text))}}}}}' for text in texts)
    body = f' {{"choices" : [{choices}], "other": 1e400}}\n'.encode()
    filtering = plan(_openai_chat_shapes.RESPONSE, mask=MASK).start(framing="whole")
    out = run(filtering, cut(body, data.draw(CUTS)))
    assert out.endswith(b'], "other": 1e400}\n')
    said = [whole_text([choice["message"]["content"]]) for choice in json.loads(out)["choices"]]
    assert said == [masked(text) for text in texts]
    assert outcome(filtering).done


@cases(400)
@given(st.data(), TEXTS)
def test_what_is_not_masked_is_sent_as_it_was_written(data, text):
    pieces = data.draw(in_pieces(text))
    strings = [data.draw(written(piece)) for piece in pieces]
    stream = "".join(f'{{"message":{{"content":{string}}},"done":false}}\n' for string in strings).encode()
    never = plan(OLLAMA.endpoints[0].stream, mask=patterns(MASKED[0].__class__(id="x", regex="ab[^ab]*never")))
    out = run(never.start(framing="ndjson"), cut(stream, data.draw(CUTS)))
    contents = [json.loads(line)["message"]["content"] for line in out.splitlines()]
    assert whole_text(contents) == whole_text([text])
    raw = "".join(line.decode().split('"content":"')[1].rsplit('"}', 1)[0] for line in out.splitlines())
    assert raw == "".join(string[1:-1] for string in strings)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_an_escaped_word_is_found_in_its_event(size):
    stream = b'data: {"choices":[{"index":0,"delta":{"content":"x a\\u0062a\\/"}}]}\n\n'
    out = run(CHAT.start(framing="sse"), cut(stream, range(0, len(stream), size)))
    assert out == stream.replace(b"a\\u0062a", b'\\"\\\\\\n')
