"""Whoever cannot prove who it is, or asks for what is not its own, is refused, counted and named once in the log."""

from __future__ import annotations

import datetime
import ipaddress
import json
import struct
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from datapath import scripts
from kube_gateway.identity.authority import create_authority, load_authority

pytestmark = pytest.mark.root
PORT = 9000
# An answer that comes is waited for so long (and for `expect` bytes of it no longer); silence is, by itself, half a second.
PATIENCE = 10.0
STATUS_LENGTH = 5
ATTACKER = str(Path(__file__).with_name("attacker.py"))


@pytest.fixture(scope="module")
def pods(module_instance):
    """An enrolled victim with a server, a well-behaved enrolled peer, and an attacker that is not enrolled."""
    module_instance.run("victim", sys.executable, "-u", "-c", scripts.server(PORT))
    module_instance.run("friend", "sleep", "3600")
    module_instance.run("attacker", "sleep", "3600")
    module_instance.annotate("victim", encrypt="true")
    module_instance.annotate("friend", encrypt="true")
    return module_instance


@pytest.fixture(autouse=True)
def the_gateway_lives_on(pods):
    """After each attack the same worker still serves an honest peer."""
    worker = pods.gateway_processes("victim")["worker"]
    yield
    text = f"import socket; s = socket.create_connection(({victim(pods)!r}, {PORT})); print(s.recv(100))"
    assert b"accept" in pods.exec("friend", sys.executable, "-c", text).stdout.encode()
    assert pods.gateway_processes("victim")["worker"] == worker


def victim(pods) -> str:
    return pods.pod("victim").addresses[0]


def attacker(pods) -> str:
    return pods.pod("attacker").addresses[0]


def attack(pods, **order) -> dict:
    done = pods.in_network_with_input("attacker", json.dumps({"to": victim(pods), **order}), sys.executable, ATTACKER)
    return json.loads(done.stdout)


def certificate(authority, *, addresses, uris=("spiffe://cluster.local/ns/default/sa/default",), life=3600) -> dict:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "attacker")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=2))
        .not_valid_after(now + datetime.timedelta(seconds=life))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return {
        "chain": leaf.public_bytes(serialization.Encoding.PEM).decode(),
        "key": key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    }


def good_certificate(pods) -> dict:
    return certificate(load_authority(pods.instance.authority), addresses=pods.pod("attacker").addresses)


def address(text: str, port: int) -> bytes:
    ip = ipaddress.ip_address(text)
    return bytes([ip.version]) + ip.packed + struct.pack(">H", port)


def frame(kind: int, payload: bytes) -> bytes:
    return bytes([kind]) + len(payload).to_bytes(3, "big") + payload


def open_frame(to: str, port: int, source: str, *, version: int = 1) -> bytes:
    return frame(1, bytes([version, 0]) + bytes(8) + address(to, port) + address(source, 40000))


def refused_with(pods, words: str, counter: str, **order) -> dict:
    before = pods.counter("victim", counter)
    answer = attack(pods, **order)
    pods.wait_counter("victim", counter, before + 1)
    pods.wait_log("victim", words)
    return answer


def test_an_honest_frame_is_served(pods):
    """The attacks below fail for what is wrong with them, not because this peer cannot speak."""
    sent = open_frame(victim(pods), PORT, attacker(pods))
    answer = attack(pods, **good_certificate(pods), send=[sent.hex()], expect=STATUS_LENGTH, hold=PATIENCE)
    assert answer["received"].startswith("0200000100"), answer


def test_no_certificate(pods):
    refused_with(pods, "it presents no certificate", "handshakes_failed")


def test_a_certificate_of_another_authority(pods, tmp_path):
    other = create_authority(tmp_path / "other")
    stranger = certificate(other, addresses=pods.pod("attacker").addresses)
    refused_with(pods, "its certificate is of an unknown authority", "handshakes_failed", **stranger)


def test_a_certificate_for_another_address(pods):
    stolen = certificate(load_authority(pods.instance.authority), addresses=pods.pod("friend").addresses)
    words = f"is not for the address {attacker(pods)}"
    answer = refused_with(
        pods, words, "handshakes_failed", **stolen, send=[open_frame(victim(pods), PORT, attacker(pods)).hex()]
    )
    assert answer["received"] == ""


def test_a_certificate_that_has_expired(pods):
    old = certificate(load_authority(pods.instance.authority), addresses=[attacker(pods)], life=-60)
    refused_with(pods, "its certificate has expired", "handshakes_failed", **old)


@pytest.mark.parametrize(
    ("uris", "words"),
    [
        (("spiffe://elsewhere.example/ns/default/sa/default",), "is not of the trust domain cluster.local"),
        ((), "the certificate has 0 URI names"),
        (("spiffe://cluster.local/a", "spiffe://cluster.local/b"), "the certificate has 2 URI names"),
    ],
)
def test_a_certificate_with_a_wrong_identity(pods, uris, words):
    strange = certificate(load_authority(pods.instance.authority), addresses=[attacker(pods)], uris=uris)
    refused_with(pods, words, "handshakes_failed", **strange)


def test_another_protocol_inside_tls(pods):
    answer = attack(pods, **good_certificate(pods), alpn="h2", hold=PATIENCE)
    assert not answer["handshake"] or answer["error"] != "open"


def test_no_tls_at_all(pods):
    before = pods.counter("victim", "handshakes_failed")
    attack(pods, tls=False, send=[b"GET / HTTP/1.1\r\n\r\n".hex()])
    pods.wait_counter("victim", "handshakes_failed", before + 1)


def test_an_open_that_is_malformed(pods):
    good = open_frame(victim(pods), PORT, attacker(pods))
    malformed = {
        "short": (frame(1, good[4:-1]), "frame of type 1 with 23 bytes"),
        "long": (frame(1, good[4:] + b"x"), "frame of type 1 with 25 bytes"),
        "huge": (b"\x01\xff\xff\xff", "frame of type 1 with 16777215 bytes"),
        "version": (open_frame(victim(pods), PORT, attacker(pods), version=2), "OPEN of version 2"),
        "type": (frame(77, b""), "frame of unknown type 77"),
        "data without a stream": (frame(3, b"hello"), "DATA where it has no place"),
        "fin without a stream": (frame(4, b""), "a frame without a stream where it has no place"),
    }
    for name, (sent, words) in malformed.items():
        order = {**good_certificate(pods), "send": [sent.hex()], "hold": PATIENCE}
        answer = refused_with(pods, words, "malformed_inbound", **order)
        assert answer["error"] != "open", name


def test_an_open_that_stops_in_the_middle_holds_nothing_up(pods):
    good = open_frame(victim(pods), PORT, attacker(pods))
    answer = attack(pods, **good_certificate(pods), send=[good[:9].hex()])
    assert answer == {"handshake": True, "received": "", "error": "open"}


@pytest.mark.parametrize(
    ("to", "port", "words"),
    [
        ("127.0.0.1", 22, "it is not an address of this pod"),
        ("10.89.0.1", 9000, "it is not an address of this pod"),
        ("friend", PORT, "it is not an address of this pod"),
        ("0.0.0.0", PORT, "it is not an address of this pod"),
        ("victim", 18000, "the port is the gateway's own"),
        ("victim", 18001, "the port is the gateway's own"),
        ("victim", 18443, "the port is the gateway's own"),
        ("victim", 0, "the port is the gateway's own"),
    ],
)
def test_a_destination_that_is_not_the_pods(pods, to, port, words):
    target = pods.pod(to).addresses[0] if to.isalpha() else to
    sent = open_frame(target, port, attacker(pods))
    order = {**good_certificate(pods), "send": [sent.hex()], "expect": STATUS_LENGTH, "hold": PATIENCE}
    answer = refused_with(pods, words, "denied_inbound", **order)
    assert answer["received"] == frame(2, b"\x04").hex()


def test_a_mapped_loopback_destination(pods):
    payload = bytes([1, 0]) + bytes(8) + address("::ffff:127.0.0.1", 22) + address("fd89::4", 1)
    words = "it is not an address of this pod"
    order = {**good_certificate(pods), "send": [frame(1, payload).hex()], "expect": STATUS_LENGTH, "hold": PATIENCE}
    answer = refused_with(pods, words, "denied_inbound", **order)
    assert answer["received"] == frame(2, b"\x04").hex()


def test_speaking_for_another(pods):
    friend = pods.pod("friend").addresses[0]
    sent = open_frame(victim(pods), PORT, friend)
    words = f"it claims to speak for {friend}"
    refused_with(pods, words, "denied_inbound", **good_certificate(pods), send=[sent.hex()])


def test_the_same_offence_a_hundred_times_is_one_line_in_the_log(pods):
    sent = open_frame("10.89.0.77", PORT, attacker(pods)).hex()
    before = pods.counter("victim", "denied_inbound")
    # A denied stream is ended by the offender's RESET, then it asks again.
    order = {"send": [sent, frame(5, b"").hex()] * 100, "expect": 100 * STATUS_LENGTH, "hold": PATIENCE}
    attack(pods, **good_certificate(pods), **order)
    pods.wait_counter("victim", "denied_inbound", before + 100)
    assert pods.log("victim").count("10.89.0.77") == 1


def test_the_plain_port_is_closed_while_encryption_is_on(pods):
    answer = attack(pods, tls=False, port=18001)
    assert answer["error"].startswith("ConnectionRefusedError")


def test_many_half_open_handshakes_do_not_keep_others_out(pods):
    text = f"""
import socket, time
held = []
for _ in range(700):
    s = socket.socket(); s.setblocking(False)
    try: s.connect(({victim(pods)!r}, 18443))
    except BlockingIOError: pass
    held.append(s)
print("held", flush=True); time.sleep(8)"""
    flood = pods.start("attacker", sys.executable, "-c", text)
    try:
        assert flood.stdout.readline() == "held\n"
        # Handshakes that stand still are given up after five seconds; those beyond the limit are turned away at once.
        pods.wait_counter("victim", "over_limit", 1)
        assert flood.wait(timeout=30) == 0
    finally:
        flood.kill()
        flood.communicate()
