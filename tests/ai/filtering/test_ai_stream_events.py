"""What becomes of single events: which are added, which are left out, what goes with a changed text, and how it ends."""

import json

import msgspec
import pytest
from chat_stream import CHAT, DONE, STOP, said, tools
from wire import outcome, patterns, plan, run, sse, words

from kube_gateway._native import FilterPlan
from kube_gateway.ai.dialects import _anthropic_shapes, _gemini_shapes
from kube_gateway.ai.dialects.ollama import DIALECT as OLLAMA
from kube_gateway.ai.pattern import Pattern


def test_what_is_held_goes_out_in_a_copy_of_its_event_before_the_end():
    filtering = plan(CHAT, mask=words("banned")).start(framing="sse")
    choice = b'{"index":0,"delta":{"role":"assistant","content":"a ban"},"logprobs":[1]}'
    first = b'event: x\r\ndata: {"choices":[' + choice + b"]}\r\n\r\n"
    assert filtering.feed(first) == first.replace(b"ban", b"").replace(b',"logprobs":[1]', b"")
    copy = b'event: x\r\ndata: {"choices":[{"index":0,"delta":{"content":"ban"}}]}\r\n\r\n'
    assert filtering.feed(STOP) == copy + STOP
    assert filtering.feed(DONE) == DONE
    seen = outcome(filtering)
    assert (seen.events, seen.sent, seen.done, seen.open_keys, seen.ended_keys) == (3, 4, True, (), (("0",),))


def test_what_is_held_is_appended_where_the_ending_event_has_text():
    filtering = plan(CHAT, mask=words("banned")).start(framing="sse")
    assert filtering.feed(said("ban")) == said("")
    assert filtering.feed(said("n", finish='"stop"')) == said("bann", finish='"stop"')


@pytest.mark.parametrize(("once", "contents"), [((), ["ban", ""]), (("choices[]",), ["ban"])])
def test_a_copy_has_no_text_of_others_and_no_reason_to_finish(once, contents):
    shape = msgspec.structs.replace(CHAT, once=once)
    filtering = plan(shape, mask=words("banned")).start(framing="sse")
    both = (
        '{"choices":[{"index":0,"delta":{"content":"ban"},"finish_reason":null},'
        '{"index":1,"delta":{"content":"other"},"finish_reason":"length"}]}'
    )
    filtering.feed(f"data: {both}\n\n".encode())
    [(_, copy), _] = sse(filtering.feed(STOP))
    choices = json.loads(copy)["choices"]
    assert [choice["delta"]["content"] for choice in choices] == contents
    assert [choice["finish_reason"] for choice in choices] == [None] * len(contents)


def test_only_the_text_that_changes_changes_with_what_would_give_it_away():
    filtering = plan(CHAT, mask=words("banned")).start(framing="sse")
    event = said("a banned x", more=',"logprobs":{"content":[{"token":"banned"}]},"x":1e400')
    assert filtering.feed(event) == said("a *** x", more=',"x":1e400')
    untouched = said("fine", more=',"logprobs":{"content":[{"token":"fine"}]}')
    assert filtering.feed(untouched) == untouched


def test_the_name_of_the_model_is_echoed():
    filtering = plan(CHAT).start(framing="sse", model='my "own"')
    assert filtering.feed(said("x")) == said("x").replace(b'"real"', b'"my \\"own\\""')
    assert outcome(filtering).model == "real"
    assert plan(CHAT).start(framing="sse", model="real").feed(said("x")) == said("x")


USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'


def test_usage_that_the_gateway_asked_for_is_counted_and_taken_out_again():
    event = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"usage":null}\n\n'
    filtering = plan(CHAT).start(framing="sse", strip_usage=True)
    assert filtering.feed(event + STOP + USAGE + DONE) == event.replace(b',"usage":null', b"") + STOP + DONE
    assert outcome(filtering).usage == {"input": 3, "output": 4}
    asked = plan(CHAT).start(framing="sse")
    assert asked.feed(event + STOP + USAGE + DONE) == event + STOP + USAGE + DONE


def test_an_event_without_choices_that_is_no_usage_stays():
    azure = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}],"usage":null}\n\n'
    filtering = plan(CHAT).start(framing="sse", strip_usage=True)
    assert filtering.feed(azure) == azure.replace(b',"usage":null', b"")


def test_a_whole_answer_is_never_taken_for_the_event_of_usage():
    body = b'{"choices":[],"usage":{"prompt_tokens":3}}'
    assert run(plan(CHAT).start(framing="whole", strip_usage=True), [body]) == body


def test_usage_of_every_event_counts_the_last():
    filtering = plan(CHAT).start(framing="sse")
    filtering.feed(USAGE + USAGE.replace(b":4", b":9"))
    assert outcome(filtering).usage == {"input": 3, "output": 9}


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_denial_sends_what_was_before_and_nothing_behind(size):
    deny = patterns(Pattern(id="no", literal="secret", action="deny"), Pattern(id="m", literal="banned"))
    filtering = plan(CHAT, mask=deny).start(framing="sse")
    stream = said("a banned s") + said("ecre") + said("t behind") + said("more") + STOP + DONE
    out = b"".join(filtering.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert filtering.ended
    assert "".join(json.loads(raw)["choices"][0]["delta"]["content"] for _, raw in sse(out)) == "a *** "
    assert filtering.finish() == b""
    seen = outcome(filtering)
    assert (seen.denied, seen.matches, seen.open_keys) == ("no", {"no": 1, "m": 1}, (("0",),))


def test_an_event_that_is_denied_from_its_first_text_on_is_not_sent():
    deny = patterns(Pattern(id="no", literal="secret", action="deny"))
    filtering = plan(CHAT, mask=deny).start(framing="sse")
    assert filtering.feed(said("secret")) == b""
    assert (outcome(filtering).events, outcome(filtering).sent) == (1, 0)


def test_a_denial_in_an_event_that_finishes_leaves_the_finish_to_the_caller():
    deny = patterns(Pattern(id="no", literal="secret", action="deny"))
    filtering = plan(CHAT, mask=deny).start(framing="sse")
    assert filtering.feed(said("a secret", finish='"stop"')) == said("a ")


def test_what_is_noted_of_how_a_stream_ends_is_bounded():
    filtering = plan(CHAT).start(framing="sse")
    for number in range(3000):
        filtering.feed(said("x", index=number, finish=f'"{number}"'))
    for event in (said("x", finish=f'"{"long" * 100}"'), said("x", finish='"stop"')):
        assert filtering.feed(event) == event
    seen = outcome(filtering)
    assert seen.ended_keys == tuple((str(number),) for number in range(1024))
    assert seen.finish == tuple(map(str, range(1024)))
    assert seen.open_keys == ()


def test_shadow_patterns_are_counted_and_hold_nothing():
    shadow = {"output": patterns(Pattern(id="s", literal="banned"), Pattern(id="d", literal="x", action="deny"))}
    filtering = plan(CHAT, shadow=shadow).start(framing="sse")
    for event in (said("ban"), said("ned \ud83d"), STOP, said("xx")):
        assert filtering.feed(event) == event
    assert outcome(filtering).shadow_matches == {"s": 1, "d": 1}
    assert outcome(filtering).matches == {}


def test_a_stream_is_cut_at_its_limit_with_what_is_held():
    filtering = plan(CHAT, mask=words("banned")).start(framing="sse", most_output=2)
    assert filtering.feed(said("abcd")) == said("abcd")
    assert filtering.feed(said("efb")) + filtering.feed(said("more")) == said("ef") + said("b")
    assert filtering.ended
    seen = outcome(filtering)
    assert (seen.cut, seen.denied, seen.open_keys, seen.characters) == (True, None, (("0",),), {"output": 7})


def block_event(**event: object) -> bytes:
    return f"data: {json.dumps(event)}\n\n".encode()


def test_results_of_tools_do_not_count_against_the_limit():
    filtering = plan(_anthropic_shapes.STREAM).start(framing="sse", most_output=4)
    block = {"type": "bash_code_execution_tool_result", "content": {"stdout": "x" * 400}}
    result = block_event(type="content_block_start", index=0, content_block=block)
    assert filtering.feed(result) == result
    assert not filtering.ended
    filtering.feed(block_event(type="content_block_delta", index=1, delta={"type": "text_delta", "text": "y" * 16}))
    assert filtering.ended


def test_usage_decides_about_the_limit_where_there_is_any():
    filtering = plan(CHAT).start(framing="sse", most_output=10)
    long = said("x" * 400)
    with_usage = long.replace(b'"id":"c"', b'"usage":{"completion_tokens":9}')
    assert filtering.feed(with_usage) == with_usage
    assert not filtering.ended
    filtering.feed(with_usage.replace(b":9", b":10"))
    assert filtering.ended


def test_a_stream_that_ends_by_itself_is_not_cut():
    filtering = plan(CHAT).start(framing="sse", most_output=1)
    event = said("long enough", finish='"stop"')
    assert filtering.feed(event + DONE) == event + DONE
    assert not filtering.ended


def test_the_context_of_ollama_goes_once_anything_was_masked():
    generate = next(endpoint for endpoint in OLLAMA.endpoints if endpoint.name == "generate")
    last = b'{"response":"","done":true,"context":[1,2],"eval_count":7}\n'
    masked = plan(generate.stream, mask=words("banned")).start(framing="ndjson")
    assert masked.feed(b'{"response":"banned","done":false}\n') == b'{"response":"***","done":false}\n'
    assert masked.feed(last) == last.replace(b'"context":[1,2],', b"")
    assert outcome(masked).usage == {"output": 7}
    untouched = plan(generate.stream, mask=words("banned")).start(framing="ndjson")
    assert untouched.feed(last) == last


def test_thoughts_that_are_signed_are_looked_at_and_left():
    deny = patterns(Pattern(id="m", literal="banned"), Pattern(id="no", literal="secret", action="deny"))
    planned = plan(_anthropic_shapes.STREAM, mask=deny, lanes=("reasoning",))
    thought = (
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"banned ban"}}\n\n'
    )
    filtering = planned.start(framing="sse")
    assert run(filtering, [thought]) == thought
    assert outcome(filtering).characters == {"reasoning": 10}
    assert filtering.ended is False
    denied = planned.start(framing="sse")
    denied.feed(thought.replace(b"ban", b"secret"))
    assert outcome(denied).denied == "no"


def test_an_array_stays_one_when_events_are_added_before_its_end():
    planned = plan(_gemini_shapes.STREAM, mask=words("banned"))
    element = b'{"candidates":[{"content":{"parts":[{"text":"%s"}]}}]}'
    whole = b"[" + element % b"a" + b"\n,\r\n" + element % b"b ban"
    closed = planned.start(framing="array")
    out = run(closed, [whole, b"\n]"])
    assert out == b"[" + element % b"a" + b"\n,\r\n" + element % b"b " + b"," + element % b"ban" + b"\n]"
    torn = planned.start(framing="array")
    assert run(torn, [whole]) == out[:-2]
    error = planned.start(framing="array")
    body = b'{"error":{"code":429}}'
    assert run(error, [body]) == body
    assert outcome(error).failed


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "body", [b'[{"candidates":[{"content":{"parts":[{"text":"secret"}]}}]}]', b" [\n1]", b'{"x":1}']
)
def test_it_is_told_that_an_array_has_been_opened(size, body):
    deny = patterns(Pattern(id="no", literal="secret", action="deny"))
    filtering = plan(_gemini_shapes.STREAM, mask=deny).start(framing="array")
    assert not outcome(filtering).opened
    out = b"".join(filtering.feed(body[at : at + size]) for at in range(0, len(body), size))
    assert outcome(filtering).opened == out.strip().startswith(b"[") == (b"[" in body[:2])
    assert (outcome(filtering).sent == 0) == (b"1" not in out)


def test_an_error_in_the_stream_comes_after_what_was_held():
    filtering = plan(OLLAMA.endpoints[0].stream, mask=words("banned")).start(framing="ndjson")
    line = b'{"message":{"content":"ban"},"done":false}\n'
    error = b'{"error":"it broke"}\n'
    assert filtering.feed(line + error) == line.replace(b"ban", b"") + line + error
    assert (outcome(filtering).failed, outcome(filtering).done) == (True, False)


def test_a_callable_has_the_last_word_on_texts():
    seen = []

    def shout(lane: str, key: str, text: str, last: bool) -> str:
        seen.append((lane, key, text, last))
        return text.upper() + ("!" if last else "")

    filtering = plan(CHAT, mask=words("banned")).start(framing="sse", transform=shout)
    out = sse(run(filtering, [said("a ban"), said('é"'), STOP, DONE]))
    texts = [json.loads(raw)["choices"][0]["delta"].get("content") for _, raw in out[:-1]]
    assert texts == ["A ", 'BANÉ"', "!", None]
    assert seen == [("output", "0", "a ", False), ("output", "0", 'bané"', False), ("output", "0", "", True)]


@pytest.mark.parametrize("broken", [lambda *_: None, lambda *_: 1, lambda: ""])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_callable_that_fails_ends_the_answer(broken):
    filtering = plan(CHAT).start(framing="sse", transform=broken)
    assert filtering.feed(said("x")) == b""
    assert (filtering.ended, outcome(filtering).denied) == (True, "transform")


def test_texts_are_kept_as_they_were_sent_up_to_a_size():
    filtering = plan(CHAT, mask=words("banned")).start(framing="sse", collect=8)
    filtering.feed(said("é banned") + said(" and more") + STOP)
    assert outcome(filtering).texts == {"output": "é *** a"} or outcome(filtering).texts == {"output": "é *** "}
    assert len(outcome(filtering).texts["output"].encode()) <= 8


def test_many_lines_of_data_are_one_event():
    filtering = plan(CHAT, mask=words("banned")).start(framing="sse")
    choice = '{"index":0,\ndata: "delta":{"content":"banned"}}'
    event = 'data: {"choices":[\n' + "".join(f"data: {choice},\n" for _ in range(20_000)) + f"data: {choice}]}}\n\n"
    assert filtering.feed(event.encode()) == event.replace("banned", "***").encode()


def test_duplicate_members_are_texts_of_their_own():
    event = b'data: {"choices":[{"index":0,"delta":{"content":"banned","content":"bann","content":"x"}}]}\n\n'
    filtering = plan(CHAT, mask=words("banned")).start(framing="sse")
    assert filtering.feed(event) == event.replace(b"banned", b"***").replace(b"bann", b"")


def test_what_is_unusable_is_said():
    with pytest.raises(ValueError, match="unknown field"):
        FilterPlan(b'{"lane":[]}')
    with pytest.raises(ValueError, match=r"tool rule t: .* is no regular expression"):
        tools({"id": "t", "name": "(", "allow": True})
    with pytest.raises(ValueError, match="no such framing: lines"):
        plan(CHAT).start(framing="lines")
    with pytest.raises(TypeError, match="no such option: modle"):
        plan(CHAT).start(framing="sse", modle="x")  # type: ignore[call-arg]
