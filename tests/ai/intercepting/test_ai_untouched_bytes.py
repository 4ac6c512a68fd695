"""What is no LLM call passes byte for byte, and nothing waits for the gateway to make up its mind."""

from __future__ import annotations

import os
import threading
import time

import pytest
from intercepting_rig import Engine, chunked, ok, post

pytestmark = pytest.mark.root


def exchange(rig, request: bytes, answer: bytes) -> None:
    client, server = rig.pair(request)
    assert server.exactly(len(request)) == request
    server.send(answer)
    assert client.exactly(len(answer)) == answer
    client.nothing(0.02)
    server.nothing(0.02)


REQUESTS = {
    "get": b"GET /x?y=/v1/chat/completions HTTP/1.1\r\nhost:  a \r\nX-Odd:\t\xe9 \r\n\r\n",
    "lower case": b"get /models HTTP/1.0\r\n\r\n".replace(b"get", b"foo"),
    "length": post(b"hello", path="/upload"),
    "chunked": b"POST /x HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n"
    + b'5;a="b";c\r\nhello\r\n0005\r\nworld\r\n0\r\nX-Trailer: 1\r\n\r\n',
    "multipart": post(b"--x\r\n\r\n{}\r\n--x--\r\n", content_type="multipart/form-data; boundary=x"),
    "form": post(b"model=gemma&x=%7B%7D", content_type="application/x-www-form-urlencoded"),
    "empty lines before": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "duplicates": b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nA: 1\r\n\r\n",
    "absolute": b"GET http://proxy/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "options": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "expect elsewhere": post(b"hello", "Expect: 100-continue", path="/upload"),
}
ANSWERS = {
    "length": ok(b"hello"),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
    + chunked(b"a" * 300, b"b", trailers=b"X: 1\r\n"),
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + ok(b"x"),
    "bare line feeds": b"HTTP/1.1 200\nContent-Length: 1\n\nx",
    "old": b"HTTP/1.0 200 Fine\r\nContent-Length: 2\r\n\r\nok",
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_other_exchanges_are_byte_identical(rig, request_name, answer):
    engine = Engine()
    rig.core.set_policy(engine)
    exchange(rig, REQUESTS[request_name], ANSWERS[answer])
    assert engine.requests == []


def test_a_call_without_a_rule_is_byte_identical(rig):
    engine = Engine()
    rig.core.set_policy(engine)
    body = b'{"model" : "a", "x":1e400,\t"x":1}'
    exchange(rig, post(body, "X-A:  b", "Etag: c"), ok(b'{"a":  1}', 'ETag: "x"'))
    (request,) = engine.requests
    assert request.body == body
    assert (request.method, request.target, request.endpoint) == ("POST", "/v1/chat/completions", 0)
    assert request.headers[0] == ("Host", "server")
    assert request.http_version == "1.1"
    facts = engine.decisions[0].facts()
    assert (facts["status"], facts["request_bytes"], facts["response_bytes"]) == (200, len(body), 9)
    assert not facts["client_gone"]
    assert not facts["upstream_failed"]


@pytest.mark.parametrize("size", [1, 2, 30, 70_000, 3_000_000])
def test_random_bytes_pass_both_ways(rig, size):
    rig.core.set_policy(Engine())
    up, down = b"\x00" + os.urandom(size), os.urandom(size)
    client, server = rig.pair(up[:1])
    for sender, receiver, data in ((client, server, up[1:]), (server, client, down)):
        thread = threading.Thread(target=sender.send, args=(data,))
        thread.start()
        assert receiver.exactly(size) == data if sender is server else receiver.exactly(size + 1) == up
        thread.join()
        sender.end()
        assert receiver.rest() == b""


def test_a_server_that_speaks_first_is_not_delayed(rig):
    rig.core.set_policy(Engine())
    times = []
    for _ in range(20):
        client, server = rig.pair()
        began = time.perf_counter()
        server.send(b"220 mail ESMTP\r\n")
        client.until(b"ESMTP\r\n")
        client.send(b"EHLO me\r\n")
        server.until(b"EHLO me\r\n")
        times.append(time.perf_counter() - began)
        client.send(b"POST /v1/chat/completions HTTP/1.1\r\n")
        server.until(b"HTTP/1.1\r\n")
    assert min(times) < 0.005, times


@pytest.mark.parametrize(
    "first",
    [
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
        b"*1\r\n$4\r\nPING\r\n",
        b"GET key\r\n",
        b"h",
        b"PING",
        b"\r\n",
        b"{",
        b" ",
        b"\t\n ",
        b" hello\r\n",
        b"\x85\x01",
    ],
)
def test_other_protocols_are_not_held_back(rig, first):
    rig.core.set_policy(Engine())
    client, server = rig.pair(first)
    assert server.exactly(len(first)) == first
    server.send(b"answer")
    assert client.exactly(6) == b"answer"
    client.send(b"more")
    assert server.exactly(4) == b"more"


def test_a_long_first_line_of_another_protocol_passes(rig):
    rig.core.set_policy(Engine())
    line = b" STORE " + b"a" * 300_000 + b"\r\n"
    client, server = rig.pair(line)
    assert server.exactly(len(line)) == line
    server.send(b"stored\r\n")
    assert client.until(b"\r\n") == b"stored\r\n"


def test_a_partial_request_goes_on_at_the_end(rig):
    rig.core.set_policy(Engine())
    client, server = rig.pair(b"POST /v1/chat/comp")
    client.end()
    assert server.rest() == b"POST /v1/chat/comp"
    server.send(b"why?")
    server.close()
    assert client.rest() == b"why?"
