"""Calls of tools on a stream: which are let through, and when their arguments are sent."""

import json

import pytest
from chat_stream import STOP, said, tools
from wire import outcome, plan, run, sse

from kube_gateway.ai.dialects import _anthropic_shapes, _openai_chat_shapes, _openai_responses_shapes
from kube_gateway.ai.dialects.ollama import DIALECT as OLLAMA


def call(arguments: str, *, name: str = "", index: int = 0) -> bytes:
    first = f'"id":"id-{index}","type":"function",' if name else ""
    named = f'"name":{json.dumps(name)},' if name else ""
    function = f'{{"index":{index},{first}"function":{{{named}"arguments":{json.dumps(arguments)}}}}}'
    return (
        f'data: {{"choices":[{{"index":0,"delta":{{"tool_calls":[{function}]}},"finish_reason":null}}]}}\n\n'.encode()
    )


def test_arguments_that_are_not_whole_are_not_sent_when_a_stream_is_cut():
    filtering = tools(BY_ARGUMENT).start(framing="sse", most_output=4)
    assert filtering.feed(call('{"cmd":["ls', name="sh")) == call("", name="sh")
    assert filtering.feed(said("some")) == said("some")
    assert (filtering.ended, outcome(filtering).cut, outcome(filtering).denied) == (True, True, None)


def test_a_tool_is_denied_by_its_name_before_anything_of_it_is_sent():
    filtering = tools({"id": "t", "name": "sh|bash", "allow": False}).start(framing="sse")
    assert filtering.feed(call("", name="bashful")) == call("", name="bashful")
    assert filtering.feed(call("", name="bash", index=1)) == b""
    assert (outcome(filtering).denied, outcome(filtering).matches) == ("t", {"t": 1})


BY_ARGUMENT = {"id": "rm", "name": "sh", "arguments": [{"path": "cmd[]", "regex": "^r.m$"}], "allow": False}


def test_arguments_are_held_until_they_are_whole_and_then_sent_at_once():
    filtering = tools(BY_ARGUMENT).start(framing="sse")
    assert filtering.feed(call('{"cmd":', name="sh")) == call("", name="sh")
    assert filtering.feed(call('["ls"]}')) == call("")
    whole = call('{"cmd":["ls"]}')
    assert filtering.feed(STOP) == whole + STOP


def test_arguments_that_a_rule_denies_are_never_sent():
    filtering = tools(BY_ARGUMENT).start(framing="sse")
    filtering.feed(call('{"cmd":["x", "r\\u0020', name="sh"))
    assert filtering.feed(call('m"]}')) == call("")
    assert filtering.feed(STOP) == b""
    assert (filtering.ended, outcome(filtering).denied) == (True, "rm")


@pytest.mark.parametrize(("allow", "denied"), [(False, "rm"), (True, None)])
def test_of_arguments_that_cannot_be_read_none_is_known_to_be_good(allow, denied):
    filtering = tools({**BY_ARGUMENT, "allow": allow}).start(framing="sse")
    filtering.feed(call('{"cmd":["ls"', name="sh") + STOP)
    assert outcome(filtering).denied == denied


def test_the_first_rule_that_applies_decides():
    rules = (
        {"id": "watch", "name": ".*", "allow": False, "shadow": True},
        {"id": "ls", "name": "sh", "arguments": [{"path": "cmd", "regex": r"\Als\z"}], "allow": True},
        {"id": "sh", "name": "sh", "allow": False},
    )
    for arguments, denied in (('{"cmd":"ls"}', None), ('{"cmd":"ls -l"}', "sh"), ("{}", "sh")):
        filtering = tools(*rules).start(framing="sse")
        filtering.feed(call(arguments, name="sh") + STOP)
        assert outcome(filtering).denied == denied
        assert outcome(filtering).shadow_matches == {"watch": 1}


def test_calls_of_whole_answers_and_of_arguments_that_are_objects_are_checked():
    message = '{"choices":[{"message":{"tool_calls":[%s]}}]}'
    one = '{"function":{"name":"ok","arguments":"{}"}}'
    bad = '{"function":{"arguments":"{\\"cmd\\":[\\"r m\\"]}","name":"sh"}}'
    rules = json.dumps([BY_ARGUMENT]).encode()
    planned = plan(_openai_chat_shapes.RESPONSE, tools=rules)
    fine, denied = planned.start(framing="whole"), planned.start(framing="whole")
    body = (message % one).encode()
    assert run(fine, [body]) == body
    assert run(denied, [(message % f"{one},{bad}").encode()]) == b""
    assert outcome(denied).denied == "rm"
    ollama = plan(OLLAMA.endpoints[0].stream, tools=rules).start(framing="ndjson")
    function = b'{"name":"sh","arguments":{"cmd":["r m"]}}'
    line = b'{"message":{"content":"","tool_calls":[{"function":' + function + b'}]},"done":false}\n'
    assert ollama.feed(line.replace(b"r m", b"ls")) == line.replace(b"r m", b"ls")
    assert ollama.feed(line) == b""
    assert outcome(ollama).denied == "rm"


def test_calls_are_checked_where_name_and_arguments_are_in_different_events():
    planned = plan(_anthropic_shapes.STREAM, tools=json.dumps([BY_ARGUMENT]).encode())
    start, delta, stop = (
        b'event: content_block_%s\ndata: {"type":"content_block_%s","index":1%s}\n\n' % (kind, kind, more)
        for kind, more in (
            (b"start", b',"content_block":{"type":"tool_use","name":"sh","input":{}}'),
            (b"delta", b',"delta":{"type":"input_json_delta","partial_json":"%s"}'),
            (b"stop", b""),
        )
    )
    fine = planned.start(framing="sse")
    assert fine.feed(start + delta % rb"{\"cmd\":" + delta % rb"[\"a\"]}") == start + delta % b"" * 2
    assert fine.feed(stop) == delta % rb"{\"cmd\":[\"a\"]}" + stop
    denied = planned.start(framing="sse")
    assert denied.feed(start + delta % rb"{\"cmd\":[\"rym\"]}" + stop) == start + delta % b""
    assert outcome(denied).denied == "rm"


def test_calls_of_responses_are_checked_once_though_they_are_repeated():
    def event(kind: str, number: int, body: str) -> bytes:
        return (
            f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":{number},"output_index":0,{body}}}\n\n'.encode()
        )

    item = '"item":{"type":"function_call","name":"sh","arguments":%s}'
    stream = [
        event("response.output_item.added", 0, item % '""'),
        event("response.function_call_arguments.delta", 1, r'"delta":"{\"cmd\":[\"ls\"]}"'),
        event("response.function_call_arguments.done", 2, r'"arguments":"{\"cmd\":[\"ls\"]}"'),
        event("response.output_item.done", 3, item % r'"{\"cmd\":[\"ls\"]}"'),
    ]
    rules = json.dumps([{**BY_ARGUMENT, "shadow": True, "arguments": [{"path": "cmd[]", "regex": "ls"}]}, BY_ARGUMENT])
    filtering = plan(_openai_responses_shapes.STREAM, tools=rules.encode()).start(framing="sse")
    out = [json.loads(raw) for _, raw in sse(run(filtering, stream))]
    assert [each["sequence_number"] for each in out] == [0, 1, 2, 3, 4]
    assert [each.get("delta") for each in out[1:3]] == ["", '{"cmd":["ls"]}']
    assert outcome(filtering).shadow_matches == {"rm": 1}
    denied = plan(_openai_responses_shapes.STREAM, tools=rules.replace("^r.m$", "ls").encode()).start(framing="sse")
    run(denied, stream)
    assert (outcome(denied).denied, outcome(denied).sequence) == ("rm", 1)
