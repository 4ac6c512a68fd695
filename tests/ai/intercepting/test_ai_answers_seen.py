"""Answers that never can be read."""

from __future__ import annotations

import pytest
from intercepting_rig import Decision, Engine, Plan, Response, ok, post

pytestmark = pytest.mark.root


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
