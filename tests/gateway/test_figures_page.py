"""The page of a pod's figures, as Prometheus reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.gateway.figures_page import FiguresPage, Shown
from kube_gateway.model.sent import MOST_PEERS, REST, SentReport, SentTo
from kube_gateway.model.settings import Settings

COUNTERS = {
    "gate_refused": 1,
    "gate_dropped": 20,
    "egress_refused": 2,
    "udp_refused": 3,
    "denied_inbound": 9,
    "authorization_denied": 5,
    "authorization_would_deny": 6,
    "authorization_ended": 11,
    "streams_outbound": 7,
    "streams_inbound": 8,
    "clear_outbound": 9,
    "refused_outbound": 10,
}
SENT = SentReport(
    since=1_800_000_000.5,
    totals={"tunnel": 1000, "tls": 200, "plain": 30, "udp": 4, "other": 5},
    peers=(
        SentTo(address="10.0.0.9", kind="plain", bytes=20, packets=2),
        SentTo(address=REST, kind="plain", bytes=10, packets=1),
        SentTo(address="10.0.0.9", kind="tunnel", bytes=1000, packets=9),
    ),
)
PAGE = """\
# HELP kube_gateway_sent_bytes_total Payload that left the pod: in tunnels, as TLS of its own, as other TCP, by UDP, \
by anything else.
# TYPE kube_gateway_sent_bytes_total counter
kube_gateway_sent_bytes_total{kind="tunnel"} 1000
kube_gateway_sent_bytes_total{kind="tls"} 200
kube_gateway_sent_bytes_total{kind="plain"} 30
kube_gateway_sent_bytes_total{kind="udp"} 4
kube_gateway_sent_bytes_total{kind="other"} 5
# HELP kube_gateway_plaintext_bytes_total Payload of TCP connections that left the pod readable for anybody on the wire.
# TYPE kube_gateway_plaintext_bytes_total counter
kube_gateway_plaintext_bytes_total{peer="(other)"} 10
kube_gateway_plaintext_bytes_total{peer="10.0.0.9"} 20
# HELP kube_gateway_counting_since_seconds When counting of bytes began.
# TYPE kube_gateway_counting_since_seconds gauge
kube_gateway_counting_since_seconds 1800000000.5
# HELP kube_gateway_gate_refused_total Connections to the pod that were refused in clear.
# TYPE kube_gateway_gate_refused_total counter
kube_gateway_gate_refused_total 21
# HELP kube_gateway_egress_refused_total TCP handshakes in clear that did not leave the pod.
# TYPE kube_gateway_egress_refused_total counter
kube_gateway_egress_refused_total 2
# HELP kube_gateway_udp_refused_total UDP packets that did not leave the pod.
# TYPE kube_gateway_udp_refused_total counter
kube_gateway_udp_refused_total 3
# HELP kube_gateway_would_deny_total Tunnelled connections to the pod that a policy in a dry run would have denied.
# TYPE kube_gateway_would_deny_total counter
kube_gateway_would_deny_total 6
# HELP kube_gateway_ended_total Tunnelled connections to the pod that were ended as they are not allowed any more.
# TYPE kube_gateway_ended_total counter
kube_gateway_ended_total 11
# HELP kube_gateway_denied_total Tunnelled connections to the pod that were denied: by a policy, or as they were for \
somebody else.
# TYPE kube_gateway_denied_total counter
kube_gateway_denied_total{by="policy"} 5
kube_gateway_denied_total{by="destination"} 4
# HELP kube_gateway_streams_total The pod's connections, by what became of them.
# TYPE kube_gateway_streams_total counter
kube_gateway_streams_total{how="tunnelled_out"} 7
kube_gateway_streams_total{how="tunnelled_in"} 8
kube_gateway_streams_total{how="clear_out"} 9
kube_gateway_streams_total{how="refused_out"} 10
# HELP kube_gateway_info The settings in force.
# TYPE kube_gateway_info gauge
kube_gateway_info{encryption="strict",udp="block"} 1
# HELP kube_gateway_connections_in_clear TCP connections that stand in clear.
# TYPE kube_gateway_connections_in_clear gauge
kube_gateway_connections_in_clear 2
# HELP kube_gateway_certificate_expiry_seconds When the pod's certificate ends.
# TYPE kube_gateway_certificate_expiry_seconds gauge
kube_gateway_certificate_expiry_seconds 1800003600
"""


def shown(**changes) -> Shown:
    values = {
        "settings": Settings(wanted=True, encryption="strict", udp="block"),
        "sent": SENT,
        "counters": COUNTERS,
        "clear": 2,
        "certificate_expires": 1_800_003_600.0,
    }
    return Shown(**{**values, **changes})


def plaintext(page: str) -> dict[str, int]:
    lines = [line for line in page.splitlines() if line.startswith("kube_gateway_plaintext_bytes_total{")]
    return {line.split('"')[1]: int(line.split()[-1]) for line in lines}


def test_the_whole_page():
    assert FiguresPage().page(shown()) == PAGE


def test_a_page_of_a_gateway_that_has_counted_nothing_yet():
    page = FiguresPage().page(shown(sent=None, counters={}))
    assert "sent_bytes" not in page
    assert "kube_gateway_connections_in_clear 2" in page


def test_the_alert_metric_is_there_before_anything_was_sent_in_clear():
    page = FiguresPage().page(shown(sent=SentReport(since=1.0, totals={})))
    assert plaintext(page) == {"(other)": 0}


def test_there_are_so_many_series_and_no_more():
    peers = tuple(SentTo(address=f"10.0.{n // 250}.{n % 250}", kind="plain", bytes=1) for n in range(5000))
    series = plaintext(FiguresPage().page(shown(sent=SentReport(since=1.0, totals={"plain": 5000}, peers=peers))))
    assert len(series) == MOST_PEERS + 1
    assert series["(other)"] == 5000 - MOST_PEERS
    assert sum(series.values()) == 5000


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 1000)), max_size=200))
@pytest.mark.parametrize("at_a_time", [1, 50])
def test_no_series_ever_shrinks(at_a_time, sendings):
    page, counts, before = FiguresPage(), {}, {}
    for place in range(0, len(sendings), at_a_time):
        for peer, amount in sendings[place : place + at_a_time]:
            counts[peer] = counts.get(peer, 0) + amount
        peers = tuple(SentTo(address=f"10.0.0.{peer}", kind="plain", bytes=count) for peer, count in counts.items())
        sent = SentReport(since=1.0, totals={"plain": sum(counts.values())}, peers=peers)
        series = plaintext(page.page(shown(sent=sent)))
        assert all(series[name] >= count for name, count in before.items())
        assert sum(series.values()) == sum(counts.values())
        before = series
