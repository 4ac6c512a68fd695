"""A receipt that was changed in any way, or is somebody else's, proves nothing."""

from __future__ import annotations

import base64
import copy
import datetime
import json
import random
import time

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from kube_gateway import _native
from kube_gateway.control.messages import ReceiptQuery
from kube_gateway.gateway.accounting import Accounting
from kube_gateway.identity.authority import create_authority
from kube_gateway.identity.receipts import LARGEST, ReceiptRefused, check_receipt
from kube_gateway.model.receipt import signed_bytes
from kube_gateway.model.settings import Settings
from receipts import HOUR, POD, environment, identity_for

CLAIM = "A receipt that was changed, or is another pod's or root's, is refused"
COUNTED = {
    "totals": {"tunnel": 9000, "tls": 0, "plain": 100, "udp": 0, "other": 0},
    "peers": [
        {"address": "10.0.0.9", "kind": "plain", "bytes": 100, "packets": 2},
        {"address": "10.0.0.7", "kind": "tunnel", "bytes": 9000, "packets": 30},
    ],
}


class Hooks:
    def sent(self) -> bytes:
        return json.dumps({"since": time.time() - 30, **COUNTED}).encode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return create_authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def identity(authority):
    return identity_for(authority)


@pytest.fixture(scope="module")
def text(identity):
    accounting = Accounting(environment(), hooks=Hooks, identity=lambda: identity)
    query = ReceiptQuery(number=1, since=time.time() - 60)
    return accounting.receipt(query, settings=Settings(wanted=True, encryption="strict")).receipt


@pytest.fixture
def envelope(text):
    return json.loads(text)


@pytest.fixture
def check(authority):
    def run(changed):
        told = changed if isinstance(changed, str) else json.dumps(changed)
        return check_receipt(told, roots=[authority.certificate])

    return run


def signed_with(identity, receipt) -> dict:
    """As a workload signs that has taken the gateway's place."""
    signature = base64.b64encode(_native.sign(identity.key, signed_bytes(receipt))).decode()
    return {"receipt": receipt, "chain": identity.chain, "signature": signature}


def places(value, path=()):
    """Every place of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def other_value(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return f"{value[:-1]}{'y' if value.endswith('x') else 'x'}" if value else "10.0.0.1"
    return {**value, "more": 1} if isinstance(value, dict) else [*value, value[0] if value else 1]


def test_how_the_file_is_written_does_not_matter(check, envelope, text):
    assert check(text).receipt == check(json.dumps(envelope, indent=4, sort_keys=True)).receipt


def test_every_value_of_a_receipt_is_signed(check, envelope, figures):
    tried = 0
    for path in list(places(envelope["receipt"])):
        changed = copy.deepcopy(envelope)
        above = at(changed["receipt"], path[:-1])
        above[path[-1]] = other_value(above[path[-1]])
        with pytest.raises(ReceiptRefused):
            check(changed)
        removed = copy.deepcopy(envelope)
        del at(removed["receipt"], path[:-1])[path[-1]]
        with pytest.raises(ReceiptRefused):
            check(removed)
        tried += 2
    assert tried > 60
    figures(CLAIM, values_changed_or_removed=tried, accepted=0)


def test_every_bit_of_the_signature_counts(check, envelope, figures):
    signature = base64.b64decode(envelope["signature"])
    for place in range(8 * len(signature)):
        flipped = bytearray(signature)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(ReceiptRefused):
            check({**envelope, "signature": base64.b64encode(flipped).decode()})
    figures(CLAIM, signature_bits_flipped=8 * len(signature), accepted=0)


def test_no_byte_of_the_file_can_be_changed_unseen(check, text, figures):
    """What still passes says the same: white space, or the PEM around a certificate."""
    chance = random.Random(4)
    said = check(text).receipt
    refused = 0
    for _ in range(20_000):
        place = chance.randrange(len(text))
        changed = text[:place] + chr(chance.randrange(32, 127)) + text[place + 1 :]
        try:
            assert check(changed).receipt == said
        except ReceiptRefused:
            refused += 1
    assert refused > 17_000
    figures(CLAIM, bytes_changed=20_000, accepted_with_another_meaning=0)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_part_of_a_receipt_is_none(check, text, length):
    with pytest.raises(ReceiptRefused):
        check(text[:length])


@pytest.mark.parametrize(
    "change",
    [
        lambda envelope: {**envelope, "receipt": {**envelope["receipt"], "note": "all is well"}},
        lambda envelope: {**envelope, "note": "all is well"},
        lambda envelope: {**envelope, "signature": ""},
        lambda envelope: {**envelope, "signature": "not base64!"},
        lambda envelope: {**envelope, "signature": envelope["signature"] + "\n"},
        lambda envelope: {**envelope, "chain": ""},
        lambda envelope: {**envelope, "chain": envelope["chain"].replace("CERTIFICATE", "CERTIFICAT")},
        lambda envelope: {**envelope, "chain": envelope["chain"] * 7},
        lambda envelope: {**envelope, "chain": envelope["chain"] * 2},
        lambda envelope: {key: value for key, value in envelope.items() if key != "signature"},
        lambda envelope: {**envelope, "receipt": []},
        lambda envelope: [envelope],
        lambda envelope: {**envelope, "receipt": {**envelope["receipt"], "version": True}},
        lambda envelope: {**envelope, "receipt": {**envelope["receipt"], "version": 2}},
        lambda envelope: {**envelope, "receipt": {**envelope["receipt"], "generation": 4.0}},
    ],
)
def test_what_gateways_do_not_write_is_refused(check, envelope, change):
    with pytest.raises(ReceiptRefused):
        check(change(envelope))


def test_a_name_that_stands_there_twice_is_refused(check, text):
    for changed in (
        text.replace('{"receipt":', '{"receipt":{},"receipt":', 1),
        text.replace('"plain":', '"plain":0,"plain":', 1),
    ):
        assert changed != text
        with pytest.raises(ReceiptRefused, match="twice"):
            check(changed)


@pytest.mark.parametrize("changed", ["[" * 100_000, "{" * 3, "1e999", "NaN", "9" * 5000, " " * (LARGEST + 1), "\ud800"])
def test_garbage_is_refused_and_ends_nothing(check, changed):
    with pytest.raises(ReceiptRefused):
        check(changed)


def test_another_root_does_not_prove_it(text, other):
    with pytest.raises(ReceiptRefused, match="does not come from the root"):
        check_receipt(text, roots=[other.certificate])
    with pytest.raises(ReceiptRefused, match="does not come from the root"):
        check_receipt(text, roots=[])


def test_two_roots_beside_each_other_prove_it(text, authority, other):
    proved = check_receipt(text, roots=[other.certificate, authority.certificate])
    assert proved.root == authority.fingerprint


def test_who_has_another_root_cannot_sign(check, envelope, other):
    with pytest.raises(ReceiptRefused, match="does not come from the root"):
        check(signed_with(identity_for(other), envelope["receipt"]))


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (msgspec.structs.replace(POD, uid="uid-of-another"), "the uids differ"),
        (
            msgspec.structs.replace(POD, service_account="admin"),
            "its certificate is for spiffe://cluster.local/ns/shop",
        ),
        (msgspec.structs.replace(POD, namespace="else"), "its certificate is for spiffe://cluster.local/ns/else"),
    ],
)
def test_another_pod_of_the_same_root_cannot_sign_for_this_one(check, envelope, authority, pod, words):
    with pytest.raises(ReceiptRefused, match=words):
        check(signed_with(identity_for(authority, pod=pod), envelope["receipt"]))


def test_a_pod_cannot_say_that_it_is_one_of_another_namespace(check, envelope, identity):
    with pytest.raises(ReceiptRefused, match="says that the pod is else/web-0"):
        check(signed_with(identity, {**envelope["receipt"], "pod": "else/web-0"}))


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_certificate_that_was_not_valid_then_proves_nothing(check, envelope, authority, hours):
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    with pytest.raises(ReceiptRefused, match="it says that it was made at"):
        check(signed_with(identity_for(authority, now=then), envelope["receipt"]))


def test_a_receipt_is_still_proved_when_the_certificate_has_ended(tmp_path):
    long_ago = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    authority = create_authority(tmp_path, now=long_ago)
    identity = identity_for(authority, life=datetime.timedelta(minutes=1), now=long_ago)
    stamp = f"{long_ago + datetime.timedelta(seconds=30):%Y-%m-%dT%H:%M:%S}.000Z"
    receipt = {**json.loads(_made(identity))["receipt"], "from": stamp, "to": stamp, "made": stamp, "gaps": []}
    receipt["settings_since"] = stamp
    text = json.dumps(signed_with(identity, receipt))
    assert check_receipt(text, roots=[authority.certificate]).receipt.made == stamp


def test_an_authority_is_no_workload(check, envelope, authority):
    key = authority.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    signature = base64.b64encode(_native.sign(key, signed_bytes(envelope["receipt"]))).decode()
    with pytest.raises(ReceiptRefused, match="not that of a workload"):
        check({"receipt": envelope["receipt"], "chain": authority.certificate_pem, "signature": signature})


def test_a_workload_cannot_stand_in_the_chain_for_an_authority(check, envelope, authority, identity):
    """Its own certificate is one of the root, and has signed nothing; nor could it."""
    inner = identity_for(authority, pod=msgspec.structs.replace(POD, uid="another"))
    with pytest.raises(ReceiptRefused, match="its chain is broken"):
        check({**signed_with(identity, envelope["receipt"]), "chain": identity.chain + inner.chain})


def test_a_handshakes_signature_is_none_of_a_receipt(check, envelope, identity):
    plain = json.dumps(envelope["receipt"], sort_keys=True, separators=(",", ":")).encode()
    signature = base64.b64encode(_native.sign(identity.key, plain)).decode()
    with pytest.raises(ReceiptRefused, match="was changed"):
        check({**envelope, "signature": signature})


@pytest.mark.parametrize(
    "change",
    [
        {"from": "2999-01-01T00:00:00.000Z"},
        {"to": "2999-01-01T00:00:00.000Z"},
        {"made": "2026-01-31"},
        {"settings_since": "2999-01-01T00:00:00.000Z"},
        {"settings_since": ""},
        {"made": "2026-01-31T09:30:00.000+00:00"},
        {"gaps": [{"from": "2020-01-01T00:00:00.000Z", "to": "2020-01-02T00:00:00.000Z"}]},
        {"sent": {"totals": {"tunnel": 1}, "peers": []}},
        {"sent": {"totals": {"tunnel": -1, "tls": 0, "plain": 0, "udp": 0, "other": 0}, "peers": []}},
        {"sent": {"totals": {"tunnel": 2**63, "tls": 0, "plain": 0, "udp": 0, "other": 0}, "peers": []}},
        {"sent": {"totals": {"tunnel": 1, "tls": 0, "plain": 0, "udp": 0, "other": 0, "odd": 0}, "peers": []}},
    ],
)
def test_what_makes_no_sense_is_refused_though_it_is_signed(check, envelope, identity, change):
    with pytest.raises(ReceiptRefused):
        check(signed_with(identity, {**envelope["receipt"], **change}))


def test_a_chain_with_an_intermediate_is_followed_to_the_root(envelope, authority, identity):
    """The certificate of the workload counts as issued by whoever stands behind it in the chain."""
    proved = check_receipt(
        json.dumps({**envelope, "chain": envelope["chain"] + authority.certificate_pem}), roots=[authority.certificate]
    )
    assert proved.root == authority.fingerprint
    assert x509.load_pem_x509_certificate(identity.chain.encode()).issuer == authority.certificate.subject


def _made(identity) -> str:
    accounting = Accounting(environment(), hooks=Hooks, identity=lambda: identity_with(identity))
    return accounting.receipt(ReceiptQuery(number=1), settings=Settings()).receipt


def identity_with(identity):
    """The same as if it were valid for another hour."""
    return msgspec.structs.replace(identity, expires=time.time() + HOUR.total_seconds())
