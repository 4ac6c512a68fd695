"""However requests and answers are cut into segments, the same bytes arrive."""

from __future__ import annotations

import threading

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from intercepting_rig import Decision, Engine, Plan, Response, chunked, ok, post

from properties import cases

pytestmark = pytest.mark.root

bodies = st.binary(max_size=300).map(lambda body: b'{"x":"' + body.hex().encode() + b'"}')
requests = st.one_of(
    st.builds(post, bodies),
    st.builds(post, st.binary(max_size=300), path=st.just("/other")),
    st.just(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"),
    st.just(b"\r\nGET / HTTP/1.1\r\nHost:a\r\n\r\n"),
    st.lists(st.binary(min_size=1, max_size=40), max_size=4).map(
        lambda pieces: b"POST /api/chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"[", *pieces)
    ),
)
answers = st.one_of(
    st.builds(ok, st.binary(max_size=300)),
    st.just(b"HTTP/1.1 204 No Content\r\n\r\n"),
    st.builds(lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" + ok(body), st.binary(max_size=9)),
    st.lists(st.binary(min_size=1, max_size=40), max_size=4).map(
        lambda pieces: (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunked(*pieces, trailers=b"X: y\r\n")
        )
    ),
)
cuts = st.lists(st.integers(1, 400), max_size=5)


def in_segments(peer, data: bytes, sizes: list[int]) -> None:
    for size in sizes:
        if data:
            peer.send(data[:size])
            data = data[size:]
    peer.send(data)


@cases(300)
@given(st.lists(st.tuples(requests, answers), min_size=1, max_size=4), cuts, cuts, st.booleans())
def test_exchanges_are_byte_identical_however_they_arrive(shared_rig, exchanges, up, down, looked_at):
    response = Response(plan=Plan(), edits=False) if looked_at else None
    shared_rig.core.set_policy(Engine(lambda _: Decision(response=response)))
    client, server = shared_rig.pair()
    sender = threading.Thread(target=in_segments, args=(client, b"".join(request for request, _ in exchanges), up))
    sender.start()
    for request, answer in exchanges:
        assert server.exactly(len(request)) == request
        in_segments(server, answer, down)
        assert client.exactly(len(answer)) == answer
    sender.join()
    client.end()
    assert server.rest() == b""
    server.close()
    assert client.rest() == b""
    client.close()


@cases(200)
@given(st.binary(min_size=1, max_size=2000), st.binary(max_size=2000), cuts, st.booleans())
def test_anything_else_is_byte_identical_or_refused(shared_rig, up, down, sizes, http):
    """Random bytes, bare or as the end of a request, never pass changed, and never hang."""
    # What follows a whole request waits for its answer.
    assume(b"\n\r\n" not in up)
    shared_rig.core.set_policy(Engine())
    first = b"GET / HTTP/1.1\r\n" if http else b""
    client, server = shared_rig.pair()
    in_segments(client, first + up, sizes)
    client.end()
    seen = server.rest()
    server.send(down)
    server.close()
    back = client.rest()
    client.close()
    refused = back.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert seen == first + up or (refused and (first + up).startswith(seen)), (seen, back)
    assert back == down or refused
