"""Nothing passes unseen behind a message that gateway and server could read differently."""

from __future__ import annotations

import time

import pytest
from intercepting_rig import Decision, Engine, Reply, ok, post

from ai.policy.policy_scenes import Scene

pytestmark = pytest.mark.root

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
AMBIGUOUS = {
    "both lengths": b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "the same twice": b"POST /x HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of lengths": b"POST /x HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\nhello",
    "a signed length": b"POST /x HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
    "no length": b"POST /x HTTP/1.1\r\nContent-Length:\r\n\r\n",
    "a length out of range": b"POST /x HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "another coding": b"POST /x HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": b"POST /x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding twice": b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "a coding in 1.0": b"POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before a colon": b"POST /x HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded field": b"POST /x HTTP/1.1\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare CR": b"POST /x HTTP/1.1\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare LF": b"POST /x HTTP/1.1\nTransfer-Encoding: chunked\n\n0\r\n\r\n",
    "a bare LF in the head": b"POST /x HTTP/1.1\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a NUL": b"POST /x HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "no colon": b"POST /x HTTP/1.1\r\nX\r\n\r\n",
    "an empty name": b"POST /x HTTP/1.1\r\n: x\r\n\r\n",
    "two spaces": b"POST  /x HTTP/1.1\r\n\r\n",
    "a tab": b"POST\t/x HTTP/1.1\r\n\r\n",
    "another version": b"POST /x HTTP/1.2\r\n\r\n",
    "space at the end": b"POST /x HTTP/1.1 \r\n\r\n",
    "space first": b" POST /x HTTP/1.1\r\n\r\n",
    "a tab first": b"\tPOST /x HTTP/1.1\r\n\r\n",
    "other space first": b"\xa0\x0bPOST /x HTTP/1.1\r\n\r\n",
    "space after an empty line": b"\r\n \r\nPOST /x HTTP/1.1\r\n\r\n",
    "a huge first line": b"POST /x?" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",
    "a huge first line in lower case": b"post /x?" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",
    "empty lines without end": b"\r\n" * 150_000 + b"POST /x HTTP/1.1\r\n\r\n",
    "a huge head": b"POST /x HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_ambiguous_requests_are_refused(rig, case):
    engine = Engine()
    rig.core.set_policy(engine)
    client, server = rig.pair(AMBIGUOUS[case] + post(b"{}"))
    answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer
    assert b"Connection: close\r\n" in answer
    assert server.rest() == b""
    assert engine.requests == []


@pytest.mark.parametrize("path", ["/api/blobs/x%2F..%2F..%2Fchat", "/api/blobs/..%5cchat"])
def test_a_path_that_is_a_blob_here_and_a_chat_there_is_refused(rig, path):
    engine = Engine()
    rig.core.set_policy(engine)
    client, server = rig.pair(post(b"{}", path=path))
    answer = client.rest()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer
    assert b"x-should-retry: false\r\n" in answer
    assert server.rest() == b""
    assert engine.requests == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/blobs/x%2F..%2F..%2Fchat", b"400"),
        ("/v1/models/x/../../chat/completions;:generateContent", b"400"),
        ("/v1/responses/resp_a%2f..%2f..%2fchat%2fcompletions%3f/cancel", b"400"),
        ("/openai/deployments/azure%2Fgpt-4o/chat/completions", b"403"),
        ("/v1/chat%2Fcompletions", b"403"),
        ("/v1beta/models/gemini-2.5%2Dflash:generateContent", b"403"),
    ],
)
def test_readings_of_a_path_may_differ_in_the_model_and_not_in_the_api(rig, path, status):
    rig.core.set_policy(Scene("version: 1\nrules: [{kind: endpoints, name: r, endpoints: ['*']}]").engine)
    client, _ = rig.pair(post(b"{}", path=path))
    assert client.until(b"\r\n").split()[1] == status


CHUNKS = [
    b"5\nhello\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"-5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b"\r\n",
    b"11111111111111111\r\n",
    b"5;\n",
]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_malformed_chunks_of_a_call_are_refused(rig, chunk):
    engine = Engine()
    rig.core.set_policy(engine)
    client, server = rig.pair(b"POST /api/chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + chunk)
    assert client.rest().startswith(b"HTTP/1.1 400 ")
    assert server.rest() == b""


@pytest.mark.parametrize("chunk", CHUNKS)
def test_malformed_chunks_elsewhere_reset_the_connection(rig, chunk):
    rig.core.set_policy(Engine())
    client, server = rig.pair(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk)
    assert client.how_it_ends() == "reset"
    assert server.how_it_ends() == "reset"


def blocked(rig, first: bytes):
    rig.core.set_policy(Engine(lambda _: Decision(reply=Reply())))
    return rig.pair(first)


def test_a_call_behind_an_unusual_request_is_seen(rig):
    client, server = blocked(rig, b"FOO")
    assert server.exactly(3) == b"FOO"
    client.send(b"BAR / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert server.until(b"\r\n\r\n") == b"BAR / HTTP/1.1\r\nHost: a\r\n\r\n"
    server.send(ok(b"x"))
    client.until(b"\r\n\r\nx")
    client.send(post(b"{}"))
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 403")


def test_a_call_that_comes_byte_by_byte_is_seen(rig):
    request = b"\r\n" + post(b"{}")
    client, server = blocked(rig, request[:1])
    for byte in request[1:]:
        client.send(bytes([byte]))
        time.sleep(0.001)
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 403")
    assert server.exactly(2) == b"\r\n"
    server.nothing()


def test_a_call_that_hides_behind_a_body_is_seen(rig):
    hidden = post(b"{}")
    client, server = blocked(rig, post(hidden, path="/x") + hidden)
    server.exactly(len(post(hidden, path="/x")))
    server.send(ok(b"x"))
    client.until(b"\r\n\r\nx")
    assert client.until(b"\r\n").startswith(b"HTTP/1.1 403")


def test_a_switch_to_http2_is_not_offered_to_the_server(rig):
    client, server = blocked(
        rig,
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, x\r\n"
        b"Upgrade: h2c, foo\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    )
    assert server.until(b"\r\n\r\n") == (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, x\r\nUpgrade: foo\r\n\r\n")
    server.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\n\r\n")
    client.until(b"\r\n\r\n")


def test_a_switch_that_nobody_asked_for_ends_the_connection(rig):
    client, server = blocked(rig, b"GET / HTTP/1.1\r\n\r\n")
    server.until(b"\r\n\r\n")
    server.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
    assert client.how_it_ends() == "reset"


@pytest.mark.parametrize(
    "first",
    [
        b"GET /v1/realtime HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"CONNECT server:443 HTTP/1.1\r\nHost: server:443\r\n\r\n",
    ],
)
def test_tunnels_pass_whatever_comes(rig, first):
    client, server = blocked(rig, first)
    assert server.exactly(len(first)) == first
    answer = (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
        if first[:1] == b"G"
        else b"HTTP/1.1 200 OK\r\n\r\n"
    )
    server.send(answer + b"\x81\x05hello")
    assert client.exactly(len(answer) + 7) == answer + b"\x81\x05hello"
    for sender, receiver in ((client, server), (server, client)):
        sender.send(bytes(range(256)) * 100)
        assert receiver.exactly(25_600) == bytes(range(256)) * 100
    client.end()
    assert server.rest() == b""
    server.send(b"bye")
    server.close()
    assert client.rest() == b"bye"
