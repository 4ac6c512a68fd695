"""Answers that never can be read, and when the first of one has come."""

from __future__ import annotations

import time

import msgspec
import pytest
from intercepting_rig import Decision, Engine, Plan, Response, chunked, ok, post

from kube_gateway._native import FilterPlan
from kube_gateway.ai.shape import ResponseShape

pytestmark = pytest.mark.root
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SHAPE = msgspec.json.encode(ResponseShape())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ok(b"{}", "Content-Encoding: x"), b"unknown content coding x"),
        (ok(b"[" + b" " * 2000 + b"]"), b"its answer is too large to be looked at"),
        (b"SSH-2.0-x\r\n", b"its answer is not HTTP"),
    ],
)
def test_an_answer_that_never_can_be_read_is_refused_in_the_words_of_the_policy(rig, answer, why):
    """Libraries try again what has a status of 502, and the model would be asked three times for nothing."""
    engine = Engine(lambda _: Decision(response=Response(plan=Plan())), body_limit=1000)
    rig.core.set_policy(engine)
    client, server = rig.pair(post(b"{}"))
    server.until(b"{}")
    server.send(answer)
    assert client.rest().endswith(b"\r\n\r\nunreadable: the server failed: " + why)
    facts = engine.decisions[0].facts()
    assert (facts["status"], facts["upstream_failed"]) == (502, True)


@pytest.mark.parametrize("edits", [True, False])
def test_the_first_chunk_is_not_the_head_nor_a_comment(rig, edits):
    engine = Engine(lambda _: Decision(response=Response(plan=FilterPlan(SHAPE), edits=edits)))
    rig.core.set_policy(engine)
    client, server = rig.pair(post(b"{}"))
    server.until(b"{}")
    server.send(SSE + b"8\r\n: wait\n\n\r\n")
    client.until(b": wait")
    time.sleep(0.3)
    server.send(chunked(b"data: {}\n\n"))
    client.until(b"0\r\n\r\n")
    client.close()
    facts = engine.decisions[0].facts()
    assert facts["seconds_to_first_byte"] < 0.3 <= facts["seconds_to_first_chunk"] <= facts["seconds"]
