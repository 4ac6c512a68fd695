"""What would become of recorded requests and answers."""

from __future__ import annotations

import gzip
import json

import pytest
from policy_dialects import APIS

from kube_gateway.ai.policy.read import read_policy
from kube_gateway.ai.recorded import Recorded, RecordedAnswer, read_recorded
from kube_gateway.ai.rehearsal import Rehearsal, Rehearsed
from kube_gateway.errors import UsageError

DENY = "version: 1\nrules: [{kind: words, name: w, words: [bluebird], lanes: [output], action: deny}]"
REQUEST = {"model": "m", "stream": True, "max_tokens": 5, "messages": []}


def run(policy: str, path: str, body: object, **more) -> Rehearsed:
    return Rehearsal(read_policy(policy)).run(Recorded(path=path, body=body, **more))


def test_a_stream_that_would_be_denied():
    api = APIS["openai_chat"]
    answer = RecordedAnswer(body=api.pieces(["the blue", "bird"]).decode())
    done = run(DENY, api.target, REQUEST, response=answer)
    assert (done.result, done.rules, done.status) == ("blocked", {"w": 1}, 0)
    assert any("content_filter" in line for line in done.answer)


def test_an_answer_that_would_be_replaced():
    api = APIS["anthropic"]
    done = run(DENY, api.target, {**REQUEST, "stream": False}, response=RecordedAnswer(body=api.whole("bluebird")))
    assert (done.result, done.status) == ("blocked", 403)
    assert "permission_error" in done.refused


@pytest.mark.parametrize("name", APIS)
def test_the_kind_of_an_answer_is_guessed_where_its_headers_are_missing(name):
    api = APIS[name]
    body = {**api.request("hi", "t"), **(api.stream or {})}
    mask = DENY.replace("deny", "mask")
    done = run(
        mask, api.stream_target or api.target, body, response=RecordedAnswer(body=api.pieces(["bluebird"]).decode())
    )
    assert done.result == "changed"
    assert any("***" in line for line in done.answer)
    assert run(mask, api.target, api.request("hi", "t"), response=RecordedAnswer(body=api.whole("hi"))).result == "pass"


def test_a_body_that_is_too_large():
    done = run("version: 1\nbodyLimit: 10", "/v1/chat/completions", REQUEST)
    assert (done.result, done.status) == ("blocked", 413)


def test_budgets_count_from_one_request_to_the_next():
    rehearsal = Rehearsal(read_policy("version: 1\nrules: [{kind: rate, name: r, requests: 1}]"))
    recorded = Recorded(path="/v1/chat/completions", body=REQUEST, expect="pass")
    assert [rehearsal.run(recorded).expected for _ in range(2)] == [True, False]


def test_an_answer_of_another_kind_passes():
    done = run(
        DENY,
        "/v1/chat/completions",
        REQUEST,
        response=RecordedAnswer(body="bluebird", headers={"content-type": "text/plain"}),
    )
    assert done.result == "pass"


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_raw_request(tmp_path, end):
    path = tmp_path / "request.http"
    lines = ["POST /api/chat?x=1 HTTP/1.1", "Content-Type: application/json", "", '{"model":"a"}', "", ""]
    path.write_bytes(end.join(lines).encode())
    (recorded,) = read_recorded(path)
    assert (recorded.method, recorded.path, recorded.body) == ("POST", "/api/chat?x=1", '{"model":"a"}')
    assert recorded.headers == {"Content-Type": "application/json"}


def test_lines_keep_their_numbers(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_text("\n" + json.dumps({"path": "/a", "response": {"model": "x"}}) + "\n\n" + json.dumps({"path": "/b"}))
    first, second = read_recorded(path)
    assert (first.where, second.where) == (f"{path}:2", f"{path}:4")
    assert first.response.body == {"model": "x"}


def test_what_is_not_utf_8_is_sent_as_it_is(tmp_path):
    path = tmp_path / "request.http"
    path.write_bytes(b"POST /api/chat HTTP/1.1\r\n\r\n{\xff}")
    (recorded,) = read_recorded(path)
    assert Rehearsal(read_policy("")).run(recorded).result == "pass"


MASK = "version: 1\nrules: [{kind: words, name: w, words: [bluebird], lanes: [user, output]}]"
BLUEBIRD = {**REQUEST, "stream": False, "messages": [{"role": "user", "content": "bluebird"}]}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/v1/chat/completions"),
        ("POST", "/V1//Chat/Completions"),
        ("POST", "/v1/chat/c%6fmpletions?x=/api/show"),
        ("POST", "http://server/v1/./chat/completions/"),
    ],
)
def test_a_call_is_told_as_the_gateway_tells_it(method, path):
    done = run(MASK, path, BLUEBIRD, method=method)
    assert (done.result, done.endpoint) == ("changed", "openai_chat/chat_completions")
    assert run(MASK, path, BLUEBIRD, method="PUT").result == "no LLM call"


def test_a_path_that_is_two_calls_is_refused_as_the_gateway_does():
    done = run("version: 1", "/api/blobs/x%2F..%2F..%2Fchat", REQUEST)
    assert (done.result, done.status, done.refused) == ("blocked", 400, "a path that can be read as different calls")


@pytest.mark.parametrize("method", ["POST", "post"])
def test_a_raw_request_without_headers_has_its_body(tmp_path, method):
    path = tmp_path / "request.http"
    path.write_bytes(f"{method} /v1/chat/completions HTTP/1.1\r\n\r\n".encode() + json.dumps(BLUEBIRD).encode())
    (recorded,) = read_recorded(path)
    assert Rehearsal(read_policy(MASK)).run(recorded).result == "changed"


def test_half_a_character_is_shown_as_it_was_written():
    body = json.dumps(BLUEBIRD).replace("bluebird", "bluebird \\ud83d")
    done = run(MASK, "/v1/chat/completions", body)
    assert [line.split(": ")[1] for line in done.request] == ['"bluebird \\ud83d"', '"*** \\ud83d"']


def test_an_answer_that_is_nested_deeply_is_shown_as_it_is():
    answer = '{"choices": [{"index": 0, "message": {"content": "bluebird"}}], "x": ' + "[" * 5000 + "]" * 5000 + "}"
    done = run(MASK, "/v1/chat/completions", BLUEBIRD, response=RecordedAnswer(body=answer))
    assert done.result == "changed"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Transfer-Encoding: chunked", b'd\r\n{"model":"x"}\r\n0\r\n\r\n'),
        ("Content-Encoding: gzip", gzip.compress(b'{"model":"x"}')),
    ],
)
def test_codings_and_chunks_are_not_undone_and_that_is_said(tmp_path, head, body):
    path = tmp_path / "request.http"
    path.write_bytes(f"POST /api/chat HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
    with pytest.raises(UsageError, match=rf"the body of the request is as it went over the wire \({head}\)"):
        list(read_recorded(path))
    # A recorder has undone them, and kept the header.
    path.write_bytes(f"POST /api/chat HTTP/1.1\r\n{head}\r\n\r\n".encode() + '{"model":"é"}'.encode())
    assert len(list(read_recorded(path))) == 1


def test_chunks_of_an_answer_are_not_undone_either(tmp_path):
    path = tmp_path / "requests.jsonl"
    answer = {"headers": {"transfer-encoding": "chunked"}, "body": "2\r\n{}\r\n0\r\n\r\n"}
    path.write_text(json.dumps({"path": "/api/chat", "response": answer}))
    with pytest.raises(UsageError, match=f"{path}:1: the body of the answer is as it went over the wire"):
        list(read_recorded(path))


def test_too_large_a_file(tmp_path):
    path = tmp_path / "requests.jsonl"
    with path.open("wb") as opened:
        opened.truncate(300 * 1024 * 1024)
    with pytest.raises(UsageError, match="more than"):
        list(read_recorded(path))
