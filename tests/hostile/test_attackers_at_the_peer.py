"""Somebody else stands where a peer's gateway should. Nothing of the application goes out in clear, whatever that one does.

`strict`: the client's pod takes nobody but enrolled peers. `known`: the client is permissive and has spoken to the peer's
gateway before. `new`: permissive, and the peer was never seen; then only who refuses the port, or does not answer, is taken
for a pod that is not enrolled.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attacks.test_hostile_peers import certificate
from datapath import scripts
from hostile.inputs import corpus
from hostile.length import SHORT
from kube_gateway.identity.authority import create_authority, load_authority
from kube_gateway.local.launch import in_namespace

pytestmark = pytest.mark.root
CLAIM = "Whoever answers in a peer's place, or keeps it from answering, gets nothing in clear"
PORT = 9000
OPEN_SIZE = 28
"""Bytes of OPEN between IPv4 addresses; what the application has said by then goes with it."""

FAKE = str(Path(__file__).with_name("fake_gateway.py"))

# Says a secret, and prints how that ended: an error's name, or what came back.
CLIENT = """
import errno, socket
try:
    with socket.create_connection((ADDRESS, PORT), timeout=25) as s:
        s.sendall(MARKER); s.settimeout(25); print("answered" if s.recv(200) else "ended")
except OSError as error: print(errno.errorcode.get(error.errno, type(error).__name__))
"""

# Kinds, and whether the attack is over before anything has been proved: then a peer that is new may be one that is not
# enrolled.
ATTACKS = {
    "reset": ("nobody", True),
    "drop": ("drop", True),
    "silence": ("silent", True),
    "close": ("close", True),
    "http": ("bytes", False),
    "random": ("bytes", False),
    "alert": ("bytes", False),
    "server hello of nobody": ("bytes", False),
    "replay of a gateway's answer": ("bytes", False),
    "another authority": ("tls", False),
    "expired": ("tls", False),
    "right name wrong address": ("tls", False),
    "another trust domain": ("tls", False),
    "no identity": ("tls", False),
}
SOME = (
    "reset",
    "drop",
    "http",
    "another authority",
    "expired",
    "right name wrong address",
    "replay of a gateway's answer",
)


@pytest.fixture(scope="module")
def pods(module_instance):
    """`strict` and `known` are clients; `target` was enrolled and lost its gateway; `new` never had one."""
    pods = module_instance
    for name in ("target", "new"):
        pods.run(name, sys.executable, "-u", "-c", scripts.server(PORT))
    for name in ("strict", "known", "recorder"):
        pods.run(name, "sleep", "3600")
    pods.annotate("target", encrypt="true")
    pods.annotate("strict", encrypt="strict")
    pods.annotate("known", encrypt="true")
    assert say(pods, "known", "target", b"before") == "answered"
    pods.recorded = answer_of_a_gateway(pods)
    pods.stop_manager()
    pods.kill_gateway("target")
    yield pods
    pods.continue_manager()


def say(pods, source: str, target: str, marker: bytes) -> str:
    text = CLIENT.replace("ADDRESS", repr(pods.address(target))).replace("PORT", str(PORT))
    return pods.exec(source, sys.executable, "-c", text.replace("MARKER", repr(marker))).stdout.strip()


def answer_of_a_gateway(pods) -> str:
    """What `target` says to a ClientHello, to be said again later."""
    text = f"""
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
context.set_alpn_protocols(["kube-gateway/1"])
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing)
try: tls.do_handshake()
except ssl.SSLWantReadError: pass
s = socket.create_connection(({pods.address("target")!r}, 18443)); s.sendall(outgoing.read()); s.settimeout(10)
got = b""
try:
    while piece := s.recv(65536):
        got += piece
        if len(got) > 500: s.settimeout(0.5)
except TimeoutError: pass
print(got.hex())"""
    recorded = pods.in_network("recorder", sys.executable, "-c", text).stdout.strip()
    assert len(bytes.fromhex(recorded)) > 500, "a gateway answers with its certificate"
    return recorded


def order(pods, attack: str, target: str, scratch: Path) -> dict[str, str]:
    kind, _ = ATTACKS[attack]
    address = pods.address(target)
    said = {
        "http": b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        "random": secrets.token_bytes(3000),
        "alert": b"\x15\x03\x03\x00\x02\x02\x28",
        "server hello of nobody": corpus("handshakes")["server-hello-to-anyone"],
        "replay of a gateway's answer": bytes.fromhex(pods.recorded),
    }.get(attack, b"")
    base = {"kind": kind, "address": address, "bytes": said.hex()}
    return base | (presented(pods, attack, address, scratch) if kind == "tls" else {})


def presented(pods, attack: str, address: str, scratch: Path) -> dict[str, str]:
    ours = load_authority(pods.instance.authority)
    match attack:
        case "another authority":
            return certificate(create_authority(scratch / "other"), addresses=[address])
        case "expired":
            return certificate(ours, addresses=[address], life=-60)
        case "right name wrong address":
            return certificate(ours, addresses=[pods.address("recorder")])
        case "another trust domain":
            return certificate(ours, addresses=[address], uris=("spiffe://elsewhere.example/ns/default/sa/default",))
        case "no identity":
            return certificate(ours, addresses=[address], uris=())
        case _:
            return certificate(ours, addresses=[address])


@contextlib.contextmanager
def standing_in(pods, told: dict[str, str], target: str):
    """The attacker; the value has what it heard, after the block."""
    line = in_namespace(pods.instance.pod_namespace(target), [sys.executable, FAKE])
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    heard: dict[str, int] = {}
    try:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "ready\n"
        yield heard
        heard |= json.loads(process.communicate(timeout=20)[0])
    finally:
        process.kill()
        process.communicate()


def attacked(pods, attack: str, source: str, target: str, scratch: Path):
    """How the application's connection ended, what was on the wire, and what the attacker heard."""
    marker = secrets.token_hex(16).encode()
    with pods.capture(source) as wire, standing_in(pods, order(pods, attack, target, scratch), target) as heard:
        outcome = say(pods, source, target, marker)
    return outcome, wire, heard, marker


# `new` only for what is answered at all: silence and refusal are how a pod that is not enrolled looks.
CASES = [
    (attack, source, target)
    for attack, (_, unproved) in ATTACKS.items()
    for source, target in (("strict", "target"), ("known", "target"), ("known", "new"))
    if not (SHORT and attack not in SOME) and not (unproved and target == "new")
]


@pytest.mark.parametrize(("attack", "source", "target"), CASES)
def test_nothing_is_said_in_clear(pods, tmp_path, figures, attack, source, target):
    began = time.monotonic()
    outcome, wire, heard, marker = attacked(pods, attack, source, target, tmp_path)
    assert outcome in {"ECONNRESET", "ECONNREFUSED"}
    assert not wire.seen(marker)
    assert PORT not in wire.ports()
    assert heard["heard"] == 0
    # Who is known is waited for, eight seconds and what a try of each address takes.
    assert time.monotonic() - began < 20
    figures(CLAIM, attacks=1, bytes_in_clear=0)


def test_a_try_that_began_before_the_pod_became_strict_does_not_end_in_clear(instance):
    """The peer takes the connection and says nothing, so that the try lasts for as long as a handshake may."""
    marker = secrets.token_hex(16).encode()
    instance.run("new", sys.executable, "-u", "-c", scripts.server(PORT))
    instance.run("turning", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("turning", timeout=20)
    text = CLIENT.replace("ADDRESS", repr(instance.address("new"))).replace("PORT", str(PORT))
    silent = {"kind": "silent", "address": instance.address("new"), "bytes": ""}
    with instance.capture("turning") as wire, standing_in(instance, silent, "new"):
        client = instance.start("turning", sys.executable, "-c", text.replace("MARKER", repr(marker)))
        time.sleep(1.0)
        instance.annotate("turning", encrypt="strict")
        instance.client.wait_settled("turning", timeout=20)
        outcome = client.communicate(timeout=30)[0].strip()
    assert outcome == "ECONNRESET"
    assert not wire.seen(marker)
    assert PORT not in wire.ports()


def test_the_right_certificate_at_the_right_address_is_spoken_to(pods, tmp_path):
    """The attacks above fail for what is wrong with them, not because nobody can be spoken to."""
    told = order(pods, "another authority", "target", tmp_path) | presented(pods, "", pods.address("target"), tmp_path)
    marker = secrets.token_hex(16).encode()
    with pods.capture("known") as wire, standing_in(pods, told, "target") as heard:
        # The attacker never says STATUS; what counts is that it is told who wants to go where, inside TLS.
        assert say(pods, "known", "target", marker) == "ECONNRESET"
    assert heard["heard"] >= OPEN_SIZE
    assert not wire.seen(marker)
