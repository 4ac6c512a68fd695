"""Someone on the wire between two enrolled pods: says again what was said, and resets what it sees."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datapath import scripts
from hostile.length import amount
from kube_gateway.local import network
from kube_gateway.local.launch import in_namespace
from kube_gateway.observe.packets import parse_frame
from kube_gateway.observe.pcap import read_pcap
from kube_gateway.observe.streams import Reassembler

pytestmark = pytest.mark.root
PORT, TUNNEL = 9000, 18443
TESTS = Path(__file__).parents[1]
REPLAYS = "A tunnel's bytes, recorded on the wire and said again from any address, open no stream"
RESETS = (
    "Who resets every tunnel on the wire ends connections, and gets nothing in clear; when it stops, they work again"
)

# Connects, says a secret and waits for its echo, again and again; prints how each ended.
CLIENT = """
import errno, socket, time
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    try:
        with socket.create_connection((ADDRESS, PORT), timeout=10) as s:
            got = b""
            for _ in range(20):
                s.sendall(MARKER); piece = s.recv(65536)
                if not piece: raise ConnectionAbortedError(errno.ECONNABORTED, "ended")
                got += piece; time.sleep(0.01)
            print("good" if MARKER in got else "bad")
    except OSError as error: print(errno.errorcode.get(error.errno, type(error).__name__))
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def pods(module_instance):
    """A strict client and a permissive one, and a server, all enrolled and known to each other."""
    module_instance.run("server", sys.executable, "-u", "-c", scripts.server(PORT))
    module_instance.run("attacker", "sleep", "3600")
    module_instance.annotate("server", encrypt="true")
    for name, encrypt in (("permissive", "true"), ("strict", "strict")):
        module_instance.run(name, "sleep", "3600")
        module_instance.annotate(name, encrypt=encrypt)
        assert set(talk(module_instance, name, b"before", 0.5)) == {"good"}
    return module_instance


def talk(pods, source: str, marker: bytes, seconds: float) -> list[str]:
    text = CLIENT.replace("ADDRESS", repr(pods.address("server"))).replace("PORT", str(PORT))
    text = text.replace("MARKER", repr(marker)).replace("SECONDS", repr(seconds))
    return pods.exec(source, sys.executable, "-c", text, timeout=120).stdout.split()


def said_to_the_tunnel(path: Path) -> list[bytes]:
    """What clients said on each connection to the tunnel port, from its first byte on."""
    reassembler = Reassembler()
    for frame in read_pcap(path):
        if (segment := parse_frame(frame.data)) is not None:
            reassembler.add(segment, time=frame.time)
    return [
        b"".join(stream.runs)
        for stream in reassembler.streams()
        if stream.flow.destination_port == TUNNEL and stream.from_start and stream.payload_bytes
    ]


REPLAY = """
import socket, sys
s = socket.create_connection((ADDRESS, 18443), timeout=10); s.settimeout(2)
said = sys.stdin.buffer.read(); got = b""
try:
    for start in range(0, len(said), 1000): s.sendall(said[start : start + 1000])
    while piece := s.recv(65536): got += piece
except OSError as error: pass
print(len(got))
"""


def test_what_was_recorded_opens_no_stream(pods, figures):
    marker = secrets.token_hex(16).encode()
    # After a restart of the worker there is no pooled session: the recording begins with a handshake.
    pods.kill_gateway("permissive", "worker")
    with pods.capture("server") as wire:
        assert "good" in talk(pods, "permissive", marker, 3.0)
    recorded = said_to_the_tunnel(wire._path)
    assert recorded, "no tunnel was made while the wire was captured"
    assert all(said[:1] == b"\x16" for said in recorded), "not from the handshake on"
    before = pods.counter("server", "streams_inbound", fresh=True)
    times = amount(full=20, short=4)
    for said in recorded[:1] * times:
        for source in ("attacker", "permissive"):
            text = REPLAY.replace("ADDRESS", repr(pods.address("server")))
            line = in_namespace(pods.instance.pod_namespace(source), [sys.executable, "-c", text])
            done = subprocess.run(line, input=said, capture_output=True, timeout=30, check=True)
            # The server's flight, and an alert at most: nothing of the application's.
            assert int(done.stdout) < 4096
    assert pods.counter("server", "streams_inbound", fresh=True) == before
    figures(REPLAYS, replays=2 * times, streams_opened=0)


@pytest.mark.parametrize("source", ["permissive", "strict"])
def test_resets_on_the_wire_never_lead_to_clear(pods, figures, source):
    marker = secrets.token_hex(16).encode()
    bridge = pods.instance.namespace
    interface = network.interface_of(pods.record(source).number)
    line = in_namespace(bridge, [sys.executable, "-m", "hostile.resetter", interface, str(TUNNEL)])
    with pods.capture(source) as wire:
        resetter = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS)
        try:
            assert resetter.stdout.readline() == "ready\n"
            ended = talk(pods, source, marker, amount(full=20.0, short=6.0))
            sent, _ = resetter.communicate("\n", timeout=20)
        finally:
            resetter.kill()
            resetter.communicate()
    assert int(sent) > 10
    assert "ECONNRESET" in ended
    assert set(ended) <= {"good", "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "TimeoutError"}, ended
    assert not wire.seen(marker)
    assert PORT not in wire.ports()
    # Sessions that were reset are thrown away; the next ones work.
    time.sleep(0.5)
    assert set(talk(pods, source, marker, 1.0)) == {"good"}
    figures(RESETS, resets=int(sent), connections_ended=len(ended) - ended.count("good"), bytes_in_clear=0)
