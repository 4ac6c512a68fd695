"""HTTP/2 by prior knowledge: streams pass with all that is theirs, and calls among them are decided."""

from __future__ import annotations

import threading
import time

import h2.errors
import h2.events
import pytest
from http2_peers import Http2, request
from intercepting_rig import AT_ONCE, Decision, Engine, Plan, Reply, Response

pytestmark = pytest.mark.root
JSON = "application/json"
GOAWAY = 7


def connected(rig, engine: Engine, *, server_first: bool = False) -> tuple[Http2, Http2]:
    rig.core.set_policy(engine)
    client_peer, server_peer = rig.pair()
    if server_first:
        server = Http2(server_peer, client=False)
        time.sleep(0.05)
        return Http2(client_peer, client=True), server
    return Http2(client_peer, client=True), Http2(server_peer, client=False)


@pytest.mark.parametrize("server_first", [False, True])
def test_other_streams_pass_with_trailers_both_ways(rig, server_first):
    """As gRPC needs it."""
    engine = Engine()
    client, server = connected(rig, engine, server_first=server_first)
    client.headers(1, request("/x.Service/Call", te="trailers", content_type="application/grpc", x_a="b"))
    client.data(1, b"\0\0\0\0\2ab")
    assert server.until(h2.events.RequestReceived).headers == request(
        "/x.Service/Call", te="trailers", content_type="application/grpc", x_a="b"
    )
    assert server.until(h2.events.DataReceived).data == b"\0\0\0\0\2ab"
    server.headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    server.data(1, b"first")
    assert client.until(h2.events.ResponseReceived).headers[0] == (":status", "200")
    assert client.until(h2.events.DataReceived).data == b"first"
    client.headers(1, [("x-end", "1")], end=True)
    assert server.until(h2.events.TrailersReceived).headers == [("x-end", "1")]
    server.headers(1, [("grpc-status", "0")], end=True)
    assert client.until(h2.events.TrailersReceived).headers == [("grpc-status", "0")]
    assert engine.requests == []


def test_large_bodies_pass_under_flow_control(rig):
    client, server = connected(rig, Engine())
    body = bytes(range(256)) * 8000
    client.headers(1, request("/upload"))
    sender = threading.Thread(target=client.data, args=(1, body), kwargs={"end": True})
    sender.start()
    assert server.body(1) == body
    sender.join()
    server.headers(1, [(":status", "200")])
    sender = threading.Thread(target=server.data, args=(1, body), kwargs={"end": True})
    sender.start()
    assert client.body(1) == body
    sender.join()


def call(rig, *, sent: bytes = b'{"a":1}', limit: int = 1 << 20, **decision):
    engine = Engine(lambda _: Decision(**decision), body_limit=limit)
    client, server = connected(rig, engine)
    client.headers(1, request(content_type=JSON, content_length=str(len(sent))))
    client.data(1, sent, end=True)
    return engine, client, server


def test_a_reply_never_reaches_the_server(rig):
    engine, client, server = call(rig, reply=Reply(headers=(("X-Should-Retry", "false"), ("Connection", "close"))))
    headers = dict(client.until(h2.events.ResponseReceived).headers)
    assert headers == {":status": "403", "x-should-retry": "false", "content-length": "14"}
    assert client.body(1) == b'{"error":"no"}'
    (seen,) = engine.requests
    assert (seen.http_version, seen.target, seen.body) == ("2", "/v1/chat/completions", b'{"a":1}')
    assert ("host", "server:80") in seen.headers
    server.peer.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.until(h2.events.RequestReceived)
    assert engine.decisions[0].facts()["status"] == 403


def test_an_edited_call_goes_on_with_its_exact_length(rig):
    _, _, server = call(
        rig, body=b'{"b":22}', target="/v1/chat/completions?x", set_headers=[("Accept-Encoding", "identity")]
    )
    headers = dict(server.until(h2.events.RequestReceived).headers)
    assert (headers[":path"], headers["content-length"]) == ("/v1/chat/completions?x", "8")
    assert headers["accept-encoding"] == "identity"
    assert server.body(1) == b'{"b":22}'


@pytest.mark.parametrize("body", [None, b'{"b":2}'])
def test_a_call_with_trailers_goes_on_with_its_body(rig, body):
    client, server = connected(rig, Engine(lambda _: Decision(body=body)))
    client.headers(1, request(content_type=JSON))
    client.data(1, b'{"a":1}')
    client.headers(1, [("x-end", "1")], end=True)
    assert server.body(1) == (body or b'{"a":1}')
    trailers = [event.headers for event in server.events if isinstance(event, h2.events.TrailersReceived)]
    assert trailers == ([] if body else [[("x-end", "1")]])


def test_a_call_beyond_the_limit_is_413(rig):
    engine, client, _ = call(rig, sent=b"x" * 50, limit=10)
    assert client.until(h2.events.ResponseReceived).headers[0] == (":status", "413")
    assert client.body(1) == b"too large"
    assert engine.decisions == []


def test_calls_with_other_bodies_are_decided_by_their_heads(rig):
    engine = Engine(lambda seen: Decision(reply=Reply()) if seen.target.endswith("b") else Decision())
    client, server = connected(rig, engine)
    client.headers(1, request("/api/blobs/a"))
    server.until(h2.events.RequestReceived)
    client.data(1, b"\x00blob", end=True)
    assert server.body(1) == b"\x00blob"
    server.headers(1, [(":status", "201")], end=True)
    client.until(h2.events.StreamEnded, 1)
    client.headers(3, request("/api/blobs/b"))
    assert client.body(3) == b'{"error":"no"}'
    assert [seen.body for seen in engine.requests] == [b"", b""]


def answered(rig, plan: Plan, content_type: str, *, edits: bool = True):
    engine, client, server = call(rig, response=Response(plan=plan, edits=edits))
    server.until(h2.events.StreamEnded, 1)
    server.headers(1, [(":status", "200"), ("content-type", content_type), ("etag", "x")])
    return engine, client, server


def test_a_stream_is_filtered_as_it_comes(rig):
    engine, client, server = answered(rig, Plan(replace=(b"bad", b"*")), "text/event-stream")
    assert client.until(h2.events.ResponseReceived).headers == [
        (":status", "200"),
        ("content-type", "text/event-stream"),
    ]
    server.data(1, b"data: bad\n\n")
    assert client.until(h2.events.DataReceived).data == b"data: *\n\n"
    server.data(1, b"data: x\n\n", end=True)
    assert client.body(1) == b"data: x\n\n"
    facts = engine.decisions[0].facts()
    assert (facts["status"], facts["response_bytes"], facts["client_gone"]) == (200, 18, False)


def test_a_stream_that_is_denied_ends_validly_and_its_server_is_reset(rig):
    _, client, server = answered(rig, Plan(deny=b"bad"), "text/event-stream")
    server.data(1, b"data: good\n\n")
    server.data(1, b"data: bad\n\n")
    assert client.body(1).startswith(b"data: good\n\ndata: ended ")
    assert server.until(h2.events.StreamReset).error_code == h2.errors.ErrorCodes.CANCEL


def test_a_whole_answer_is_edited_or_left_alone(rig):
    for word, expected in ((b"bad", b'{"a":"*"}'), (b"worse", b'{"a":"bad"}')):
        _, client, server = answered(rig, Plan(replace=(word, b"*")), JSON)
        server.data(1, b'{"a":')
        server.data(1, b'"bad"}', end=True)
        assert ("etag", "x") in client.until(h2.events.ResponseReceived).headers or word == b"bad"
        assert client.body(1) == expected


def test_a_whole_answer_that_is_denied_is_replaced(rig):
    _, client, server = answered(rig, Plan(deny=b"bad"), JSON)
    server.data(1, b'"bad"', end=True)
    assert client.until(h2.events.ResponseReceived).headers[0] == (":status", "451")
    assert client.body(1) == b'refused {"seen":5}'


def test_a_whole_answer_that_never_can_be_read_is_refused_in_the_words_of_the_policy(rig):
    _, client, server = call(rig, limit=1000, response=Response(plan=Plan()))
    server.until(h2.events.StreamEnded, 1)
    server.headers(1, [(":status", "200"), ("content-type", JSON)])
    server.data(1, b"[" + b" " * 2000 + b"]", end=True)
    assert client.until(h2.events.ResponseReceived).headers[0] == (":status", "502")
    assert client.body(1) == b"unreadable: the server failed: its answer is too large to be looked at"


def test_a_path_that_is_a_blob_here_and_a_chat_there_is_refused(rig):
    engine = Engine()
    client, _ = connected(rig, engine)
    client.headers(1, request("/api/blobs/x%2F..%2F..%2Fchat", content_type=JSON))
    headers = dict(client.until(h2.events.ResponseReceived).headers)
    assert (headers[":status"], headers["x-should-retry"]) == ("400", "false")
    assert engine.requests == []


def test_a_body_whose_coding_cannot_be_undone_is_shown_to_the_policy(rig):
    engine = Engine(lambda _: Decision(reply=Reply()))
    client, _ = connected(rig, engine)
    client.headers(1, request(content_type="text/plain", content_encoding="zstd, x"))
    client.data(1, b"\x28\xb5\x2f\xfd", end=True)
    assert client.body(1) == b'{"error":"no"}'
    assert engine.requests[0].encoded


PLANS = {
    "passed": lambda: None,
    "looked at": lambda: Response(plan=Plan(), edits=False),
    "filtered": lambda: Response(plan=Plan()),
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("content_type", ["", "text/event-stream", JSON])
@pytest.mark.parametrize("way", ["reset", "close"])
def test_the_server_learns_at_once_that_the_client_is_gone(rig, plan, content_type, way):
    engine = Engine(lambda _: Decision(response=PLANS[plan]()))
    client, server = connected(rig, engine)
    client.headers(1, request(content_type=JSON))
    client.data(1, b"{}", end=True)
    server.until(h2.events.StreamEnded, 1)
    if content_type:
        server.headers(1, [(":status", "200"), ("content-type", content_type)])
        server.data(1, b"{")
        time.sleep(0.05)
    began = time.perf_counter()
    if way == "reset":
        client.state.reset_stream(1, h2.errors.ErrorCodes.CANCEL)
        client.flush()
        server.until(h2.events.StreamReset, 1)
    else:
        client.peer.close()
        server.peer.how_it_ends()
    assert time.perf_counter() - began < AT_ONCE
    assert engine.decisions[0].facts()["client_gone"]


def test_the_client_learns_that_the_server_has_reset_a_stream(rig):
    engine, client, server = answered(rig, Plan(), "text/event-stream")
    server.data(1, b"data: x\n\n")
    client.until(h2.events.DataReceived)
    server.state.reset_stream(1, h2.errors.ErrorCodes.INTERNAL_ERROR)
    server.flush()
    assert client.until(h2.events.StreamReset).error_code == h2.errors.ErrorCodes.INTERNAL_ERROR
    assert engine.decisions[0].facts()["upstream_failed"]


def test_streams_are_independent(rig):
    engine = Engine(lambda seen: Decision(reply=Reply()) if b"bad" in seen.body else Decision())
    client, server = connected(rig, engine)
    for stream, body in ((1, b'{"good":1}'), (3, b'{"bad":1}'), (5, b'{"good":2}')):
        client.headers(stream, request(content_type=JSON))
        client.data(stream, body, end=True)
    assert client.body(3) == b'{"error":"no"}'
    bodies = [server.body(server.until(h2.events.RequestReceived).stream_id) for _ in range(2)]
    assert sorted(bodies) == [b'{"good":1}', b'{"good":2}']


def test_a_server_that_says_goodbye_is_heard(rig):
    client, server = connected(rig, Engine())
    client.headers(1, request("/x", method="GET"), end=True)
    server.until(h2.events.RequestReceived)
    server.headers(1, [(":status", "204")], end=True)
    client.until(h2.events.StreamEnded, 1)
    server.state.close_connection()
    server.flush()
    server.peer.close()
    assert client.peer.exactly(9)[3] == GOAWAY


def test_an_interim_answer_passes(rig):
    client, server = connected(rig, Engine())
    client.headers(1, request("/x", method="GET"), end=True)
    server.until(h2.events.RequestReceived)
    server.state.send_headers(1, [(":status", "103"), ("link", "<x>")])
    server.headers(1, [(":status", "204")], end=True)
    assert client.until(h2.events.InformationalResponseReceived).headers[0] == (":status", "103")
    assert client.until(h2.events.ResponseReceived).headers[0] == (":status", "204")
