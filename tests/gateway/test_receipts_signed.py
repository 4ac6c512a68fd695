"""What the gateway tells of what left the pod, and what it signs of it."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from cryptography import x509

from kube_gateway import _native
from kube_gateway.control.messages import ReceiptQuery
from kube_gateway.gateway.accounting import Accounting
from kube_gateway.identity.authority import create_authority
from kube_gateway.identity.receipts import check_receipt
from kube_gateway.model.receipt import time_of
from kube_gateway.model.sent import MOST_PEERS
from kube_gateway.model.settings import Settings
from receipts import environment, identity_for

STRICT = Settings(wanted=True, encryption="strict", udp="block", exclude_ports=(53,))


class Hooks:
    """Counts as the kernel does."""

    def __init__(self) -> None:
        self.totals = {"tunnel": 0, "tls": 0, "plain": 0, "udp": 0, "other": 0}
        self.peers: list[dict[str, object]] = []
        self.broken = False
        self.since = 0.0

    def begin(self) -> None:
        self.since = time.time()

    def sent(self) -> bytes:
        if self.broken:
            raise _native.NativeError("cannot read the map", 9)
        return json.dumps({"since": self.since, "totals": self.totals, "peers": self.peers}).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def accounting(authority, hooks):
    identity = identity_for(authority)
    return Accounting(environment(), hooks=lambda: hooks, identity=lambda: identity)


def signed(accounting, **query):
    answer = accounting.receipt(ReceiptQuery(number=3, **query), settings=STRICT)
    assert (answer.number, answer.problem) == (3, "")
    return answer.receipt


def test_nothing_is_told_before_the_hooks_are_on_the_pod(accounting, hooks):
    accounting.look(clear=1)
    assert accounting.report is None
    answer = accounting.receipt(ReceiptQuery(number=1), settings=STRICT)
    assert (answer.number, answer.receipt) == (1, "")
    assert answer.problem == "nothing is counted yet: the gateway's hooks are not on the pod"


def test_the_report_has_the_peers_with_the_most(accounting, hooks):
    hooks.begin()
    hooks.totals["plain"] = 10**6
    hooks.peers = [
        {"address": f"10.1.{number // 250}.{number % 250}", "kind": "plain", "bytes": number, "packets": 1}
        for number in range(1000)
    ]
    hooks.peers.append({"address": "::", "kind": "plain", "bytes": 10**5, "packets": 9})
    accounting.look()
    report = accounting.report
    assert len(report.peers) == MOST_PEERS
    assert report.peers[0].address == "10.1.3.249"
    assert report.totals["plain"] == 10**6
    assert report.since == pytest.approx(time.time(), abs=5)


def test_counting_goes_on_where_an_older_gateway_has_begun(accounting, hooks):
    hooks.since = 1_700_000_000.0
    accounting.look()
    assert accounting.report.since == 1_700_000_000.0


def test_counters_that_cannot_be_read_are_told_once_and_end_nothing(accounting, hooks, caplog):
    hooks.begin()
    accounting.look()
    hooks.broken = True
    accounting.look()
    accounting.look()
    assert [record.message for record in caplog.records] == [
        "what leaves the pod is not counted: ('cannot read the map', 9)"
    ]
    hooks.broken = False
    hooks.totals["udp"] = 5
    accounting.look()
    assert accounting.report.totals["udp"] == 5


def test_a_receipt_says_what_was_sent_and_is_proved_by_the_root(accounting, authority, hooks):
    hooks.begin()
    accounting.look(clear=2)
    hooks.totals |= {"tunnel": 900, "plain": 100}
    hooks.peers = [{"address": "10.0.0.9", "kind": "plain", "bytes": 100, "packets": 2}]
    text = signed(accounting)
    proved = check_receipt(text, roots=[authority.certificate])
    receipt = proved.receipt
    assert proved.root == authority.fingerprint
    assert (receipt.pod, receipt.uid, receipt.generation) == ("shop/web-0", "uid-of-web-0", 4)
    assert receipt.spiffe_id == "spiffe://cluster.local/ns/shop/sa/web"
    assert receipt.sent.totals == {"tunnel": 900, "tls": 0, "plain": 100, "udp": 0, "other": 0}
    assert [msgspec.structs.astuple(peer) for peer in receipt.sent.peers] == [("10.0.0.9", "plain", 100, 2)]
    assert (receipt.clear_connections.now, receipt.clear_connections.most) == (2, 2)
    assert receipt.settings == {"wanted": True, "encryption": "strict", "udp": "block", "exclude_ports": (53,)}
    assert (receipt.gaps, receipt.clock_steps) == ((), 0)
    assert "KEY" not in text


def test_what_was_before_counting_began_is_a_gap(accounting, hooks, authority):
    hooks.begin()
    receipt = check_receipt(signed(accounting, since=time.time() - 3600), roots=[authority.certificate]).receipt
    (gap,) = receipt.gaps
    assert gap.begin == receipt.begin
    assert gap.end > gap.begin


def test_a_period_in_the_future_or_backwards_has_no_receipt(accounting, hooks):
    hooks.begin()
    for query in (ReceiptQuery(number=1, since=time.time() + 60), ReceiptQuery(number=1, since=2.0, until=1.0)):
        answer = accounting.receipt(query, settings=STRICT)
        assert (answer.receipt, answer.problem) == ("", "the period begins in the future, or after its end")


def test_a_period_that_ends_in_the_future_ends_now(accounting, hooks, authority):
    hooks.begin()
    receipt = check_receipt(signed(accounting, until=time.time() + 3600), roots=[authority.certificate]).receipt
    assert receipt.end <= receipt.made


def test_an_expired_certificate_signs_nothing(authority, hooks):
    identity = identity_for(authority)
    ended = msgspec.structs.replace(identity, expires=time.time() - 1)
    accounting = Accounting(environment(), hooks=lambda: hooks, identity=lambda: ended)
    hooks.begin()
    answer = accounting.receipt(ReceiptQuery(number=1), settings=STRICT)
    assert (answer.receipt, answer.problem) == ("", "the gateway's certificate has expired")


def test_the_chain_is_that_of_the_key(accounting, hooks, authority):
    hooks.begin()
    (leaf,) = x509.load_pem_x509_certificates(json.loads(signed(accounting))["chain"].encode())
    assert leaf.issuer == authority.certificate.subject


def test_since_when_the_settings_are_in_force_is_said(accounting, hooks, authority):
    hooks.begin()
    accounting.in_force(Settings(wanted=True, encryption="permissive"))
    time.sleep(0.01)
    changed = time.time()
    accounting.in_force(STRICT)
    time.sleep(0.01)
    accounting.in_force(msgspec.structs.replace(STRICT))
    receipt = check_receipt(signed(accounting), roots=[authority.certificate]).receipt
    assert receipt.settings["encryption"] == "strict"
    assert changed - 0.001 <= time_of(receipt.settings_since) < changed + 0.01
