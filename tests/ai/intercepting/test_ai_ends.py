"""However an exchange ends, the other side learns it at once, and the policy is told once."""

from __future__ import annotations

import time

import pytest
from intercepting_rig import AT_ONCE, PATIENCE, Decision, Engine, Plan, Response, ok, post

pytestmark = pytest.mark.root
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PLANS = {
    "passed": lambda: None,
    "looked at": lambda: Response(plan=Plan(), edits=False),
    "filtered": lambda: Response(plan=Plan()),
}
ANSWERS = {
    "before the first byte": b"",
    "in a stream": SSE + b"5\r\ndata:\r\n",
    "in a whole answer": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
}


def call(rig, plan, answer: bytes):
    engine = Engine(lambda _: Decision(response=plan()))
    rig.core.set_policy(engine)
    client, server = rig.pair(post(b"{}"))
    server.until(b"{}")
    server.send(answer)
    # Until the answer has arrived wherever it is going to.
    time.sleep(0.05)
    return engine, client, server


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("way", ["close", "reset"])
def test_the_server_learns_at_once_that_the_client_is_gone(rig, plan, answer, way):
    engine, client, server = call(rig, PLANS[plan], ANSWERS[answer])
    began = time.perf_counter()
    client.reset() if way == "reset" else client.close()
    how = server.how_it_ends()
    assert time.perf_counter() - began < AT_ONCE
    if way == "reset":
        assert how == "reset"
    server.close()
    assert engine.decisions[0].facts()["client_gone"]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_the_client_learns_at_once_that_the_server_is_gone(rig, plan, answer):
    engine, client, server = call(rig, PLANS[plan], ANSWERS[answer])
    began = time.perf_counter()
    server.reset()
    assert client.how_it_ends() == "reset"
    assert time.perf_counter() - began < AT_ONCE
    facts = engine.decisions[0].facts()
    assert facts["upstream_failed"]
    assert not facts["client_gone"]
    assert facts["sent"]


@pytest.mark.parametrize("plan", PLANS)
def test_a_stream_that_is_cut_off_is_seen_as_cut_off(rig, plan):
    engine, client, server = call(rig, PLANS[plan], SSE + b"5\r\ndata:\r\n")
    server.close()
    assert client.rest() == SSE + b"5\r\ndata:\r\n"
    client.close()
    assert engine.decisions[0].facts()["upstream_failed"]


def test_a_client_that_only_ends_its_side_gets_its_answer(rig):
    engine, client, server = call(rig, PLANS["filtered"], b"")
    client.end()
    assert server.rest() == b""
    server.send(ok(b'{"a":1}'))
    server.close()
    assert client.rest() == ok(b'{"a":1}')
    assert engine.decisions[0].facts()["status"] == 200


def test_a_client_that_goes_while_its_call_is_decided_is_told_of(rig):
    def decide(_):
        time.sleep(4 * AT_ONCE)
        return Decision()

    engine = Engine(decide)
    rig.core.set_policy(engine)
    client, server = rig.pair(post(b"{}"))
    time.sleep(0.05)
    began = time.perf_counter()
    client.reset()
    assert server.how_it_ends() == "reset"
    assert time.perf_counter() - began < AT_ONCE
    deadline = time.monotonic() + PATIENCE
    while not engine.decisions:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    facts = engine.decisions[0].facts()
    assert (facts["client_gone"], facts["sent"]) == (True, False)


def test_a_policy_that_breaks_resets_the_connection(rig):
    def decide(_):
        raise RuntimeError("broken")

    before = rig.counters()["llm_policy_failures"]
    rig.core.set_policy(Engine(decide))
    client, server = rig.pair(post(b"{}"))
    assert client.how_it_ends() == "reset"
    assert server.how_it_ends() == "reset"
    assert rig.counters()["llm_policy_failures"] == before + 1


def test_an_answer_before_the_end_of_the_request_arrives(rig):
    rig.core.set_policy(Engine())
    client, server = rig.pair(b"POST /upload HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    server.until(b"abc")
    server.send(ok(b"early"))
    client.until(b"early")
    client.send(b"defghij" + b"GET / HTTP/1.1\r\n\r\n")
    assert server.until(b"\r\n\r\n") == b"defghijGET / HTTP/1.1\r\n\r\n"


def test_an_answer_to_half_a_request_and_then_the_end(rig):
    rig.core.set_policy(Engine())
    client, server = rig.pair(b"POST /upload HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc")
    server.until(b"abc")
    server.send(ok(b"early"))
    server.close()
    assert client.rest() == ok(b"early")


def test_an_idle_connection_ends_with_either_side(rig):
    rig.core.set_policy(Engine())
    for ender in (0, 1):
        peers = rig.pair(b"GET / HTTP/1.1\r\n\r\n")
        peers[1].until(b"\r\n\r\n")
        peers[1].send(ok(b"x"))
        peers[0].until(b"\r\n\r\nx")
        peers[ender].close()
        assert peers[1 - ender].rest() == b""


def test_what_a_server_says_unasked_arrives(rig):
    rig.core.set_policy(Engine())
    client, server = rig.pair(b"GET / HTTP/1.1\r\n\r\n")
    server.until(b"\r\n\r\n")
    server.send(ok(b"x"))
    client.until(b"\r\n\r\nx")
    server.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    server.close()
    assert client.rest() == b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"


def test_an_answer_to_nothing_is_not_taken_for_the_next(rig):
    engine = Engine()
    rig.core.set_policy(engine)
    client, server = rig.pair(b"GET / HTTP/1.1\r\n\r\n")
    server.until(b"\r\n\r\n")
    server.send(ok(b"x") + ok(b"unasked"))
    client.until(b"unasked")
    client.send(post(b"{}"))
    server.nothing()
    server.close()
    assert client.rest() == b""
    assert engine.requests == []


def test_idle_streams_are_left_alone(rig):
    engine, client, server = call(rig, PLANS["filtered"], SSE + b"5\r\ndata:\r\n")
    client.until(b"data:\r\n")
    time.sleep(2)
    server.send(b"1\r\nx\r\n0\r\n\r\n")
    assert client.until(b"0\r\n\r\n") == b"1\r\nx\r\n0\r\n\r\n"
    assert not engine.decisions[0].facts()["upstream_failed"]
