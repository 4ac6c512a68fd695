"""Calls of tools that a server counts under the same index, or under none: each is judged, by its own arguments."""

import json
from collections.abc import Iterable

import pytest
from wire import cut, outcome, plan, run, sse

from kube_gateway._native import FilterPlan
from kube_gateway.ai.dialects import _anthropic_shapes, _openai_chat_shapes, _openai_responses_shapes

NO_DROP = (
    {"id": "drop", "name": "run_sql", "arguments": [{"path": "query", "regex": "(?i)drop"}], "allow": False},
    {"id": "drop", "name": "run_sql", "allow": True},
)
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
DROP = '{"query":"DROP TABLE x"}'
SELECT = '{"query":"select 1"}'


def chat(*rules: dict[str, object], streamed: bool = True) -> FilterPlan:
    shape = _openai_chat_shapes.STREAM if streamed else _openai_chat_shapes.RESPONSE
    return plan(shape, tools=json.dumps(rules or NO_DROP).encode())


def called(
    identity: str | None, name: str | None, arguments: str | None, *, index: int | None = 0
) -> dict[str, object]:
    function = {"name": name, "arguments": arguments}
    told = {
        "index": index,
        "id": identity,
        "function": {key: value for key, value in function.items() if value is not None},
    }
    return {key: value for key, value in told.items() if value is not None}


def event(*calls: dict[str, object]) -> bytes:
    choice = {"index": 0, "delta": {"tool_calls": calls}, "finish_reason": None}
    return f"data: {json.dumps({'choices': [choice]}, separators=(',', ':'))}\n\n".encode()


def told(out: bytes) -> list[tuple[str | None, str | None, str]]:
    """What a client that tells calls apart by their ids and names is told: id, name and all arguments of each."""
    found: list[tuple[str | None, str | None, str]] = []
    for _, data in sse(out):
        if data == "[DONE]":
            continue
        for choice in json.loads(data)["choices"]:
            for call in choice["delta"].get("tool_calls", ()):
                function = call["function"]
                if "id" in call or "name" in function:
                    found.append((call.get("id"), function.get("name"), ""))
                identity, name, arguments = found.pop()
                found.append((identity, name, arguments + function.get("arguments", "")))
    return found


SECOND = {
    "of another tool": ("b", "ls", "{}"),
    "of another tool, without arguments": ("b", "ls", None),
    "of the same tool": ("b", "run_sql", SELECT),
    "of another tool, without ids": (None, "ls", "{}"),
    "without a name": ("b", None, "{}"),
}


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND.keys())
@pytest.mark.parametrize("size", [None, 10_000])
def test_a_call_is_denied_though_another_has_its_index(index, together, second, size):
    identity = None if second[0] is None else "a"
    calls = called(identity, "run_sql", DROP, index=index), called(*second, index=index)
    stream = (event(*calls) if together else event(calls[0]) + event(calls[1])) + STOP + DONE
    filtering = chat().start(framing="sse")
    out = run(filtering, cut(stream, None if size is None else []))
    assert b"DROP" not in out
    assert (filtering.ended, outcome(filtering).denied, outcome(filtering).matches) == (True, "drop", {"drop": 1})


@pytest.mark.parametrize("together", [False, True])
def test_the_second_of_two_calls_is_denied_too(together):
    calls = called("a", "run_sql", SELECT), called("b", "run_sql", DROP)
    filtering = chat().start(framing="sse")
    out = run(filtering, [event(*calls)] if together else [event(each) for each in calls] + [STOP, DONE])
    assert b"DROP" not in out
    assert outcome(filtering).denied == "drop"


def calls_of(*calls: tuple[str | None, str, str]) -> Iterable[dict[str, object]]:
    return [called(*each) for each in calls]


ALLOWED = (
    (("a", "run_sql", SELECT), ("b", "run_sql", '{"query":"select 2"}')),
    (("a", "run_sql", SELECT), ("b", "ls", "{}"), ("c", "run_sql", '{"query":"select 3"}')),
    (("a", "ls", '{"a":1}'), ("b", "run_sql", SELECT)),
    ((None, "run_sql", SELECT), (None, "ls", "{}"), (None, "run_sql", '{"query":"select 3"}')),
    ((None, "run_sql", SELECT), (None, "run_sql", '{"query":"select 2"}')),
)


@pytest.mark.parametrize("calls", ALLOWED)
def test_allowed_calls_that_are_in_one_event_pass_unchanged(calls):
    stream = [event(*calls_of(*calls)), STOP, DONE]
    out = run(chat().start(framing="sse"), stream)
    assert told(out) == list(calls)


@pytest.mark.parametrize("calls", ALLOWED[:4])
@pytest.mark.parametrize("apart", [False, True])
def test_allowed_calls_in_events_of_their_own_pass_unchanged(calls, apart):
    """`apart`: the arguments are not in the event with the name, and tell nothing but the index."""
    stream = []
    for identity, name, arguments in calls:
        if apart:
            stream += [event(called(identity, name, None)), event(called(None, None, arguments[:3]))]
            stream.append(event(called(None, None, arguments[3:])))
        else:
            stream.append(event(called(identity, name, arguments)))
    filtering = chat().start(framing="sse")
    out = run(filtering, [*stream, STOP, DONE])
    assert told(out) == list(calls)
    assert outcome(filtering).denied is None


def test_a_server_that_repeats_id_and_name_makes_one_call():
    pieces = [event(called("a", "run_sql", piece)) for piece in (DROP[:12], DROP[12:])]
    filtering = chat().start(framing="sse")
    assert b"TABLE" not in run(filtering, [*pieces, STOP])
    assert outcome(filtering).denied == "drop"
    fine = chat().start(framing="sse")
    out = run(fine, [event(called("a", "run_sql", piece)) for piece in (SELECT[:12], SELECT[12:])] + [STOP])
    assert "".join(arguments for _, _, arguments in told(out)) == SELECT


def test_more_arguments_of_a_call_that_was_judged_are_judged_again():
    first, more = event(called("a", "run_sql", SELECT)), event(called("a", None, DROP))
    filtering = chat().start(framing="sse")
    out = run(filtering, [first, STOP, more, STOP, DONE])
    assert b"DROP" not in out
    assert outcome(filtering).denied == "drop"


def test_so_many_calls_that_the_first_is_forgotten_do_not_set_it_free():
    filtering = chat().start(framing="sse")
    many = [event(called(f"id-{at}", "run_sql", None, index=at)) for at in range(1, 1200)]
    assert b"DROP" not in run(filtering, [event(called("a", "run_sql", DROP)), *many, STOP])
    assert outcome(filtering).denied == "drop"


def test_beyond_the_texts_that_are_kept_apart_a_piece_is_judged_by_itself():
    filtering = chat().start(framing="sse")
    many = [f'data: {{"choices":[{{"index":{at},"delta":{{"content":"x"}}}}]}}\n\n'.encode() for at in range(1, 1025)]
    whole = event(called("a", "run_sql", SELECT))
    assert run(filtering, [*many, whole])[-len(whole) :] == whole
    denied = chat().start(framing="sse")
    assert b"DROP" not in run(denied, [*many, event(called("a", "run_sql", DROP))])
    assert outcome(denied).denied == "drop"


def test_a_condition_that_has_to_be_met_is_not_met_by_no_arguments():
    rules = (
        {
            "id": "db",
            "name": "run_sql",
            "arguments": [{"path": "database", "regex": "^test", "allow": True}],
            "allow": False,
        },
        {"id": "db", "name": "run_sql", "allow": False},
    )
    for end in (STOP, DONE, b""):
        filtering = chat(*rules).start(framing="sse")
        named = event(called("a", "run_sql", None))
        assert run(filtering, [named, end]) == named
        assert outcome(filtering).denied == "db"


def test_calls_of_an_answer_in_one_piece_are_judged_each_on_its_own():
    for second in (called("b", "ls", "{}"), called("b", "run_sql", SELECT)):
        for calls in ((called("a", "run_sql", DROP), second), (second, called("a", "run_sql", DROP))):
            body = json.dumps({"choices": [{"message": {"tool_calls": calls}}]}).encode()
            filtering = chat(streamed=False).start(framing="whole")
            assert run(filtering, [body]) == b""
            assert outcome(filtering).denied == "drop"
    body = json.dumps({"choices": [{"message": {"tool_calls": [called("a", "run_sql", SELECT)] * 2}}]}).encode()
    assert run(chat(streamed=False).start(framing="whole"), [body]) == body


def test_a_block_that_begins_anew_under_an_index_does_not_set_the_first_free():
    start, delta = (
        'data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","name":"%s","input":{}}}\n\n',
        'data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":%s}}\n\n',
    )
    stream = [start % "run_sql", delta % json.dumps(DROP), start % "ls", delta % '"{}"']
    filtering = plan(_anthropic_shapes.STREAM, tools=json.dumps(NO_DROP).encode()).start(framing="sse")
    assert b"DROP" not in run(filtering, [each.encode() for each in stream])
    assert outcome(filtering).denied == "drop"


def test_arguments_that_are_in_the_repetition_alone_are_judged_there():
    item = '"output_index":0,"item":{"type":"function_call","name":"run_sql","arguments":%s}'
    stream = [
        f'data: {{"type":"response.output_item.{kind}",{item % json.dumps(arguments)}}}\n\n'.encode()
        for kind, arguments in (("added", ""), ("done", DROP))
    ]
    filtering = plan(_openai_responses_shapes.STREAM, tools=json.dumps(NO_DROP).encode()).start(framing="sse")
    assert run(filtering, stream) == stream[0]
    assert outcome(filtering).denied == "drop"
