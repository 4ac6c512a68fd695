"""A demo that cannot fail proves nothing: each promise is broken here, and the judgement has to notice."""

import pytest
from msgspec.structs import replace
from stage_values import BOTH, CLEAR, FLUSHED, IDENTITIES, NONE_LEFT, OLD, ONE, traffic

from kube_gateway.demo.evidence import Stage, objections

GOOD = (CLEAR, ONE, BOTH, FLUSHED)
BEFORE = {"clear": None, "one-enrolled": CLEAR, "both-enrolled": ONE, "flushed": BOTH}


@pytest.mark.parametrize("stage", GOOD, ids=lambda stage: stage.name)
def test_a_good_stage_has_no_objection(stage: Stage) -> None:
    assert objections(stage, before=BEFORE[stage.name]) == ()


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (replace(CLEAR, visible_on_ports=(9000,)), "not readable on port 9080"),
        (replace(CLEAR, bytes=0), "no payload crossed the wire"),
        (replace(CLEAR, requests_failed=1, failures=("pod-01: request: refused",)), "1 requests failed (pod-01: req"),
        (replace(CLEAR, ports=(*CLEAR.ports[:2], traffic(18443, 1, "tls"))), "on port 18443, though both ends are not"),
        (replace(ONE, pids={"pod-01": 4711, "pod-02": 1}), "processes changed"),
        (replace(ONE, requests_ok=20), "no request was answered"),
        (replace(ONE, seen_as={"pod-01": "127.0.0.1", "pod-02": "10.89.0.3"}), "saw pod-01 as 127.0.0.1, not as 10.8"),
        (replace(BOTH, visible_on_ports=(9000, 9080)), "readable on port 9080"),
        (replace(BOTH, visible_on_ports=()), "should have been left as it was"),
        (replace(BOTH, ports=(*BOTH.ports, traffic(9080, 5, "plain"))), "still crossed the wire on port 9080"),
        (replace(BOTH, ports=BOTH.ports[:1]), "nothing crossed the wire on port 18443"),
        (replace(BOTH, clear_connections=NONE_LEFT), "does not report the old connection"),
        (replace(BOTH, clear_connections={"pod-01": OLD["pod-01"]}), "gateway of pod-02 does not report the old"),
        (replace(BOTH, identities=()), "reported by no gateway only"),
        (replace(BOTH, identities=IDENTITIES[:1]), "reported by pod-01 only"),
        (replace(BOTH, identities=(IDENTITIES[0], replace(IDENTITIES[1], cipher=""))), "pod-02 does not know who"),
        (
            replace(BOTH, identities=(IDENTITIES[0], replace(IDENTITIES[1], peer_spiffe_id="spiffe://other/x"))),
            "pod-02 takes pod-01 for spiffe://other/x",
        ),
        (replace(FLUSHED, payload_visible=True), "readable on the wire (ports unknown)"),
        (replace(FLUSHED, ports=(traffic(18443, 6392, "plain"),)), "on port 18443 is not TLS"),
        (replace(FLUSHED, ports=(*FLUSHED.ports, traffic(9000, 5, "tls"))), "outside the tunnel, on port 9000"),
        (replace(FLUSHED, reconnects=0), "was not ended"),
        (replace(FLUSHED, clear_connections={**NONE_LEFT, "pod-02": OLD["pod-02"]}), "reports 2 connections in clear"),
        (replace(FLUSHED, clear_connections={"pod-01": ()}), "gateway of pod-02 reports nothing"),
    ],
)
def test_a_broken_promise_is_an_objection(stage: Stage, words: str) -> None:
    found = objections(stage, before=BEFORE[stage.name])
    assert any(words in each for each in found), found


def test_a_connection_that_both_ends_report_counts_once() -> None:
    assert BOTH.left_in_clear == 2
    assert FLUSHED.left_in_clear == 0
