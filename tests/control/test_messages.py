"""The words of gateways and watcher survive the wire; others are refused."""

from __future__ import annotations

import pytest

from kube_gateway.control import messages
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.model.sent import SentReport, SentTo
from kube_gateway.model.service import Backend, ServiceBackends
from kube_gateway.model.settings import Settings

FROM_GATEWAY = [
    messages.Hello(pod="default/a", uid="1", generation=2, version="0"),
    messages.CertificateRequest(number=7, csr="PEM"),
    messages.Report(
        state="ready", settings_revision=3, certificate_expires=1.5, clear_connections=(), snapshot=GatewaySnapshot()
    ),
    messages.PeerQuery(address="10.0.0.1"),
    messages.ServiceQuery(address="10.96.0.1", port=443),
    messages.Receipt(number=1, receipt='{"receipt":{}}'),
    messages.Receipt(number=1, problem="nothing is counted yet"),
    messages.Report(
        state="ready",
        settings_revision=1,
        certificate_expires=1.0,
        clear_connections=(),
        snapshot=GatewaySnapshot(),
        sent=SentReport(since=2.0, totals={"plain": 3}, peers=(SentTo(address="10.0.0.9", kind="plain", bytes=3),)),
    ),
]
FROM_WATCHER = [
    messages.Configure(revision=1, addresses=("10.0.0.2",), settings=Settings(wanted=True)),
    messages.Certificate(
        number=7,
        serial="a",
        expires=1.0,
        chain="c",
        trust_bundle="b",
        trust_generation=1,
        spiffe_id="spiffe://x/y",
        trust_domain="x",
    ),
    messages.Trust(trust_bundle="b"),
    messages.Renew(),
    messages.Revoked(uids=("1", "2")),
    messages.PeerAnswer(address="10.0.0.1", enrolled=True),
    messages.ServiceAnswer(address="10.96.0.9", port=1),
    messages.ServiceAnswer(
        address="10.96.0.1",
        port=443,
        service=ServiceBackends(service="a/b", backends=(Backend(address="10.0.0.3", port=8443),), affinity_seconds=5),
    ),
    messages.Elsewhere(control="tls:10.0.0.4:18444"),
    messages.Heartbeat(),
    messages.Flush(cookies=(1, 2**63)),
    messages.Leave(grace=1.0),
    messages.ReceiptQuery(number=1),
    messages.ReceiptQuery(number=2, since=1.5, until=2.5),
]


@pytest.mark.parametrize("message", FROM_GATEWAY, ids=lambda message: type(message).__name__)
def test_what_a_gateway_says_arrives(message):
    line = messages.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert messages.decode_from_gateway(line) == message


@pytest.mark.parametrize("message", FROM_WATCHER, ids=lambda message: type(message).__name__)
def test_what_the_watcher_says_arrives(message):
    assert messages.decode_from_watcher(messages.encode(message)) == message


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b'{"type":"Unknown"}', b'{"type":"Leave"}', b'{"type":"Leave","grace":1,"extra":2}', b"\xff", b"[1]"],
)
def test_other_lines_are_refused(line):
    with pytest.raises(ValueError):
        messages.decode_from_watcher(line)


def test_a_gateway_cannot_speak_as_the_watcher():
    with pytest.raises(ValueError, match="Leave"):
        messages.decode_from_gateway(messages.encode(messages.Leave(grace=1.0)))


def test_a_line_of_brackets_is_no_message():
    """Only a `ValueError` is taken for what is not understood."""
    nested = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(ValueError, match="nested too deeply"):
        messages.decode_from_gateway(b'{"x":' + nested + b',"type":"Hello"}')
