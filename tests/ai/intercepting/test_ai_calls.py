"""LLM calls are collected, decided and sent on as decided, and their answers go through the filter."""

from __future__ import annotations

import gzip
import zlib

import pytest
from intercepting_rig import Decision, Engine, Plan, Reply, Response, chunked, ok, post

pytestmark = pytest.mark.root
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


def decided(rig, request: bytes, **decision):
    engine = Engine(lambda _: Decision(**decision))
    rig.core.set_policy(engine)
    client, server = rig.pair(request)
    return engine, client, server


def test_a_reply_never_reaches_the_server_and_the_connection_goes_on(rig):
    engine, client, server = decided(rig, post(b"{}"), reply=Reply(headers=(("X-Should-Retry", "false"),)))
    assert client.until(b'{"error":"no"}') == (
        b'HTTP/1.1 403 Forbidden\r\nX-Should-Retry: false\r\nContent-Length: 14\r\n\r\n{"error":"no"}'
    )
    server.nothing()
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert server.until(b"\r\n\r\n") == b"GET / HTTP/1.1\r\n\r\n"
    assert engine.decisions[0].facts()["status"] == 403


def test_a_reply_to_head_has_no_body(rig):
    request = b"HEAD /api/blobs/a HTTP/1.1\r\nHost: a\r\n\r\n"
    _, client, _ = decided(rig, request * 2, reply=Reply(headers=()))
    expected = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\n\r\n" * 2
    assert client.exactly(len(expected)) == expected
    client.nothing()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_reply_closes_if_the_client_wants_that(rig, version):
    request = post(b"{}", "Connection: close").replace(b"HTTP/1.1", version.encode())
    _, client, server = decided(rig, request, reply=Reply())
    assert b"Connection: close\r\n" in client.rest()
    assert server.how_it_ends() == "end"


def test_an_edited_body_has_its_exact_length_and_other_lines_stay(rig):
    request = post(b'{"model":"a"}', "x-odd:   kept ", "Content-MD5: x", "X-Gone: 1")
    _, _, server = decided(
        rig,
        request,
        body=b'{"model":"gemma2:2b"}',
        target="/v1/chat/completions?x=1",
        set_headers=[("accept-encoding", "identity"), ("X-Gone", None), ("Host", "other")],
    )
    assert server.until(b'2b"}') == (
        b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: other\r\nContent-Type: application/json\r\n"
        b"Content-Length: 21\r\nx-odd:   kept \r\naccept-encoding: identity\r\n\r\n"
        b'{"model":"gemma2:2b"}'
    )


def test_an_edited_chunked_body_stays_chunked(rig):
    request = b"POST /api/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n" + chunked(
        b'{"mod', b'el":1}', trailers=b"X: 1\r\n"
    )
    engine, _, server = decided(rig, request, body=b'{"model":2}')
    assert server.until(b"0\r\n\r\n") == (
        b"POST /api/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b'{"model":2}')
    )
    assert engine.requests[0].body == b'{"model":1}'
    assert engine.requests[0].endpoint == 1


def test_an_unedited_chunked_body_keeps_its_chunks(rig):
    request = b"POST /api/chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        b'{"a":', b"1}", trailers=b"X: 1\r\n"
    )
    _, _, server = decided(rig, request)
    assert server.exactly(len(request)) == request


CODED = {
    "gzip": gzip.compress(b'{"a":1}'),
    "x-gzip": gzip.compress(b'{"a"') + gzip.compress(b":1}"),
    "deflate": zlib.compress(b'{"a":1}'),
    "Deflate": zlib.compress(b'{"a":1}', wbits=-15),
    "br": bytes.fromhex("0b03807b2261223a317d03"),
    "zstd": bytes.fromhex("28b52ffd20073900007b2261223a317d"),
    "gzip, deflate": zlib.compress(gzip.compress(b'{"a":1}')),
    "identity": b'{"a":1}',
}


@pytest.mark.parametrize("coding", CODED)
def test_a_coded_request_is_seen_decoded_and_goes_on_as_it_was(rig, coding):
    request = post(CODED[coding], f"Content-Encoding: {coding}")
    engine, _, server = decided(rig, request)
    assert server.exactly(len(request)) == request
    assert engine.requests[0].body == b'{"a":1}'
    assert engine.requests[0].encoded == (coding != "identity")


def test_an_edited_coded_request_goes_on_without_its_coding(rig):
    _, _, server = decided(rig, post(CODED["gzip"], "Content-Encoding: gzip"), body=b'{"a":2}')
    message = server.until(b'{"a":2}')
    assert b"Content-Length: 7\r\n" in message
    assert b"ncoding" not in message


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ""])
def test_json_that_says_it_is_something_else_is_a_call(rig, content_type):
    engine, _, server = decided(rig, post(b' {"a":1}', content_type=content_type), body=b"{}")
    assert server.until(b"\r\n\r\n{}")
    assert engine.requests[0].body == b' {"a":1}'


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat%2fcompletions",
        "//v1//chat/./completions/",
        "/V1/CHAT/COMPLETIONS",
        "/chat/completions;x?y",
        "http://a/chat/completions",
    ],
)
def test_every_spelling_of_an_endpoint_is_a_call(rig, path):
    _, client, _ = decided(rig, post(b"{}", path=path), reply=Reply())
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 403")


def test_calls_without_a_body_are_decided(rig):
    engine, client, _ = decided(rig, b"GET /v1/models HTTP/1.1\r\n\r\n" + post(b""), reply=Reply())
    client.until(b'"no"}')
    client.until(b'"no"}')
    assert [request.endpoint for request in engine.requests] == [2, 0]


BLOB = post(b"\x00" * 3_000_000, path="/api/blobs/sha256:a", content_type="application/octet-stream")


def test_calls_with_other_bodies_are_decided_by_their_heads_and_not_collected(rig):
    engine, client, server = decided(rig, BLOB[:100_000])
    assert server.exactly(100_000) == BLOB[:100_000]
    client.send(BLOB[100_000:])
    assert server.exactly(len(BLOB) - 100_000) == BLOB[100_000:]
    server.send(ok(b"x"))
    client.until(b"\r\n\r\nx")
    client.send(BLOB[:10])
    assert engine.requests[0].body == b""
    assert engine.decisions[0].facts()["status"] == 200


def test_calls_with_other_bodies_are_refused_before_their_bodies(rig):
    _, client, server = decided(rig, BLOB[:100_000], reply=Reply())
    assert b"Connection: close\r\n" in client.until(b'"no"}')
    assert server.rest() == b""


@pytest.mark.parametrize("body", [b"x" * 20, chunked(b"x" * 20)])
def test_a_body_beyond_the_limit_is_413(rig, body):
    engine = Engine(body_limit=10)
    rig.core.set_policy(engine)
    framing = b"Content-Length: 20" if len(body) == 20 else b"Transfer-Encoding: chunked"
    client, server = rig.pair(
        b"POST /api/chat HTTP/1.1\r\nContent-Type: application/json\r\n" + framing + b"\r\n\r\n" + body
    )
    answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    assert answer.endswith(b"too large")
    assert server.how_it_ends() == "end"
    assert engine.decisions == []


def test_a_body_that_decodes_to_more_than_the_limit_is_413(rig):
    engine = Engine(body_limit=10_000)
    rig.core.set_policy(engine)
    client, _ = rig.pair(post(gzip.compress(b"[" + b" " * 1_000_000), "Content-Encoding: gzip"))
    assert client.rest().startswith(b"HTTP/1.1 413 ")


def test_a_large_upload_gets_its_413_although_it_goes_on_sending(rig):
    rig.core.set_policy(Engine(body_limit=10))
    client, _ = rig.pair(post(b"", path="/api/chat").replace(b"Length: 0", b"Length: 30000000"))
    client.send(b"x" * 30_000_000)
    assert client.until(b"too large").startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_to_be_asked_is_asked(rig):
    engine = Engine()
    rig.core.set_policy(engine)
    head, body = post(b'{"a":1}', "Expect: 100-continue", "X: 1").split(b"\r\n\r\n")
    client, server = rig.pair(head + b"\r\n\r\n")
    assert client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    server.nothing()
    client.send(body)
    assert server.until(b'"a":1}') == head.replace(b"\r\nExpect: 100-continue", b"") + b"\r\n\r\n" + body


def test_pipelined_calls_are_answered_in_order(rig):
    engine = Engine(lambda request: Decision(reply=Reply(body=b"no")) if b"bad" in request.body else Decision())
    rig.core.set_policy(engine)
    good, bad, other = post(b'{"a":1}'), post(b'{"bad":1}'), b"GET / HTTP/1.1\r\n\r\n"
    client, server = rig.pair(good + bad + other + good)
    for answer in (b"1", b"2", b"3"):
        server.until(b'{"a":1}' if answer != b"2" else b"\r\n\r\n")
        server.nothing(0.02)
        server.send(ok(answer))
    client.until(b"\r\n\r\n1HTTP/1.1 403")
    client.until(b"\r\n\r\nnoHTTP/1.1 200")
    client.until(b"\r\n\r\n2HTTP/1.1 200")
    assert client.until(b"3").endswith(b"\r\n\r\n3")


def answered(rig, plan: Plan, answer: bytes, *, request: bytes = post(b"{}"), edits: bool = True):
    engine, client, server = decided(rig, request, response=Response(plan=plan, edits=edits))
    server.until(b"{}")
    server.send(answer)
    return engine, client, server


def test_a_stream_is_filtered_event_by_event(rig):
    plan = Plan(replace=(b"bad", b"***"))
    engine, client, server = answered(rig, plan, SSE + b"5\r\nabad \r\n")
    assert client.until(b"a*** \r\n") == SSE + b"5\r\na*** \r\n"
    server.send(b"0\r\n\r\n")
    assert client.until(b"0\r\n\r\n") == b"0\r\n\r\n"
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    server.until(b"\r\n\r\n")
    facts = engine.decisions[0].facts()
    assert facts["response_bytes"] == 5
    assert 0 < facts["overhead_seconds"] < facts["seconds"]


def test_a_stream_that_is_denied_ends_validly_and_its_server_is_reset(rig):
    engine, client, server = answered(rig, Plan(deny=b"bad"), SSE + b"5\r\ngood\n\r\n")
    client.until(b"good\n\r\n")
    server.send(b"4\r\nbad\n\r\n")
    ending = b'data: ended {"seen":9}\n\n'
    assert client.rest() == b"%x\r\n%b\r\n0\r\n\r\n" % (len(ending), ending)
    assert server.how_it_ends() == "reset"
    engine.decisions[0].facts()


WHOLE = {
    "length": ok(b'{"x":"bad"}', 'ETag: "1"'),
    "chunked": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
    + chunked(b'{"x":', b'"bad"}', trailers=b"X: 1\r\n"),
}


def test_an_edited_whole_answer_has_its_exact_length(rig):
    _, client, _ = answered(rig, Plan(replace=(b"bad", b"*")), WHOLE["length"])
    assert client.until(b'"*"}') == ok(b'{"x":"*"}')


def test_an_edited_whole_answer_in_chunks_stays_in_chunks(rig):
    _, client, _ = answered(rig, Plan(replace=(b"bad", b"*")), WHOLE["chunked"])
    expected = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        b'{"x":"*"}'
    )
    assert client.exactly(len(expected)) == expected


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_answer_that_no_rule_changes_is_byte_identical(rig, kind):
    _, client, _ = answered(rig, Plan(replace=(b"worse", b"*")), WHOLE[kind])
    assert client.exactly(len(WHOLE[kind])) == WHOLE[kind]


def test_a_whole_answer_that_is_denied_is_replaced(rig):
    engine, client, _ = answered(rig, Plan(deny=b"bad"), WHOLE["length"])
    body = b'refused {"seen":11}'
    assert client.until(body).startswith(b"HTTP/1.1 451 \r\n")
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    assert engine.decisions[0].facts()["status"] == 451


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("edits", [True, False])
def test_coded_answers_are_filtered_or_looked_at(rig, coding, edits):
    plan = Plan(replace=(b'"a":1', b'"a":23'))
    answer = ok(CODED[coding], f"Content-Encoding: {coding}")
    engine, client, _ = answered(rig, plan, answer, edits=edits)
    expected = ok(b'{"a":23}') if edits else answer
    assert client.exactly(len(expected)) == expected
    engine.decisions[0].facts()
    assert plan.filters[0].seen == b'{"a":1}'


def test_a_coded_whole_answer_that_no_rule_changes_keeps_its_coding(rig):
    answer = ok(CODED["gzip"], "Content-Encoding: gzip", 'ETag: "x"')
    _, client, _ = answered(rig, Plan(), answer)
    assert client.exactly(len(answer)) == answer


def test_a_coded_stream_is_decoded_as_it_comes(rig):
    compressor = zlib.compressobj(wbits=31)
    first = compressor.compress(b"data: bad\n\n") + compressor.flush(zlib.Z_SYNC_FLUSH)
    head = SSE.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    plan = Plan(replace=(b"bad", b"***"))
    _, client, server = answered(rig, plan, head + b"%x\r\n%b\r\n" % (len(first), first))
    assert client.until(b"\n\n\r\n") == SSE + b"b\r\ndata: ***\n\n\r\n"
    last = compressor.compress(b"data: x\n\n") + compressor.flush()
    server.send(chunked(last))
    assert client.until(b"0\r\n\r\n") == chunked(b"data: x\n\n")


def test_a_look_at_a_stream_changes_nothing(rig):
    plan = Plan(replace=(b"a", b"b"))
    answer = SSE + b'5;x="y"\r\ndata:\r\n' + chunked(b" a\n\n", trailers=b"X: 1\r\n")
    engine, client, _ = answered(rig, plan, answer, edits=False)
    assert client.exactly(len(answer)) == answer
    engine.decisions[0].facts()
    assert plan.filters[0].seen == b"data: a\n\n"


def test_a_stream_with_a_length_is_sent_in_chunks_when_it_is_filtered(rig):
    answer = ok(b"data: bad\n\n", content_type="text/event-stream")
    _, client, _ = answered(rig, Plan(replace=(b"bad", b"worse")), answer)
    expected = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(
        b"data: worse\n\n"
    )
    assert client.exactly(len(expected)).lower() == expected.lower()


def test_a_stream_until_the_end_of_the_connection_is_filtered(rig):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
    _, client, server = answered(rig, Plan(replace=(b"bad", b"*")), head + b"bad\n")
    assert client.until(b"*\n") == head + b"*\n"
    server.send(b"also bad\n")
    server.close()
    assert client.rest() == b"also *\n"


def test_other_content_types_pass(rig):
    plan = Plan(replace=(b"bad", b"*"))
    _, client, _ = answered(rig, plan, ok(b"bad", content_type="text/html"))
    assert client.until(b"bad")
    assert plan.filters == []


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/jsonl"])
def test_other_content_types_are_filtered_if_the_policy_says_so(rig, content_type):
    response = Response(plan=Plan(replace=(b"bad", b"*")), framing_of={"application/json": "whole", "*": "whole"})
    _, client, server = decided(rig, post(b"{}"), response=response)
    server.until(b"{}")
    typed = f"Content-Type: {content_type}\r\n".encode() if content_type else b""
    server.send(b"HTTP/1.1 200 OK\r\n" + typed + b"Content-Length: 3\r\n\r\nbad")
    assert client.until(b"\r\n\r\n*") == b"HTTP/1.1 200 OK\r\n" + typed + b"Content-Length: 1\r\n\r\n*"


def test_an_answer_that_cannot_be_read_is_not_let_through(rig):
    engine, client, server = answered(rig, Plan(), ok(b"bad bytes", "Content-Encoding: gzip"))
    answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"x-should-retry" not in answer
    assert server.how_it_ends() == "reset"
    assert engine.decisions[0].facts()["upstream_failed"]
