"""Every byte arrives, in both directions, in every way a connection can be used."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from load import LOAD, serve

pytestmark = pytest.mark.root
PORT = 9100
GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def pods(module_instance):
    """Two enrolled pods; `server` runs the load server on both families."""
    serve(module_instance, "server", PORT)
    module_instance.run("client", "sleep", "3600")
    module_instance.annotate("client", encrypt="true")
    module_instance.annotate("server", encrypt="true")
    return module_instance


def load(pods, verb, *options, family=0, timeout=120):
    address = pods.address("server", family)
    to = f"[{address}]:{PORT}" if family else f"{address}:{PORT}"
    return json.loads(pods.exec("client", LOAD, verb, "--to", to, *map(str, options), timeout=timeout).stdout)


@pytest.mark.parametrize("connections", [1, 64])
def test_a_gigabyte_up_and_down_at_once_is_exact(pods, connections):
    before = pods.counter("client", "bytes_received")
    load(pods, "echo", "--connections", connections, "--bytes", GIGABYTE)
    pods.wait_counter("client", "bytes_received", before + GIGABYTE // connections * connections)


def test_ipv6_is_exact_too(pods):
    load(pods, "echo", "--connections", 8, "--bytes", GIGABYTE // 8, family=1)


def test_upload_then_shut_down_then_read_the_answer(pods):
    load(pods, "upload", "--bytes", GIGABYTE // 4)
    load(pods, "upload", "--bytes", 0)


def test_the_other_direction_can_end_first(pods):
    """The server sends a little and shuts down; the client goes on sending."""
    server = f"""
import socket
listener = socket.create_server(({pods.address("server")!r}, 9200))
print("ready", flush=True)
s, _ = listener.accept(); s.sendall(b"bye"); s.shutdown(socket.SHUT_WR)
total = 0
while piece := s.recv(65536): total += len(piece)
print(total, flush=True)"""
    other = pods.start("server", sys.executable, "-c", server)
    try:
        assert other.stdout.readline() == "ready\n"
        client = f"""
import socket
s = socket.create_connection(({pods.address("server")!r}, 9200)); assert s.recv(10) == b"bye" and s.recv(10) == b""
s.sendall(b"x" * 1000000); s.close()"""
        pods.exec("client", sys.executable, "-c", client)
        assert other.stdout.readline() == "1000000\n"
    finally:
        other.kill()
        other.communicate()


def test_ten_thousand_short_connections_lose_nothing_and_leave_nothing(pods):
    load(pods, "connect", "--concurrency", 16, "--count", 2000)
    time.sleep(1.5)
    before = usage(pods)
    result = load(pods, "connect", "--concurrency", 16, "--count", 10_000)
    assert result["connections"] == 10_000
    time.sleep(1.5)
    after = usage(pods)
    for name in ("client", "server"):
        assert after[name]["descriptors"] <= before[name]["descriptors"] + 16, (before, after)
        assert after[name]["memory"] <= before[name]["memory"] * 1.2 + 4096, (before, after)
        assert pods.counter(name, "streams_active", fresh=True) == 0
    # Every connection was handed over; what was noted for it went with it.
    assert entries_in_flight() < 50
    # Sessions are reused: handshakes do not grow with connections.
    assert pods.counter("client", "sessions_dialled") < 200


def entries_in_flight() -> int:
    """How many connections all hooks on this machine have noted and not handed over."""
    maps = json.loads(subprocess.run(["bpftool", "map", "show", "-j"], capture_output=True, check=True).stdout)
    ours = [each["id"] for each in maps if each.get("name") == "kgw_in_flight"]
    assert ours
    dumps = [
        subprocess.run(["bpftool", "map", "dump", "id", str(number), "-j"], capture_output=True, check=True).stdout
        for number in ours
    ]
    return sum(len(json.loads(dump)) for dump in dumps)


def usage(pods) -> dict:
    """Open descriptors and resident kilobytes of both workers."""
    found = {}
    for name in ("client", "server"):
        pid = pods.gateway_processes(name)["worker"]
        status = pods.exec(name, "cat", f"/proc/{pid}/status").stdout
        memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        found[name] = {"descriptors": len(pods.exec(name, "ls", f"/proc/{pid}/fd").stdout.split()), "memory": memory}
    return found


def test_more_connections_than_ports_in_time_wait(pods):
    """All clients of an application share one source address in its pod; that must not limit their rate."""
    pods.exec("server", "sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 40199")
    pods.exec("server", "sysctl", "-qw", "net.ipv4.tcp_max_tw_buckets=100000")
    try:
        load(pods, "connect", "--concurrency", 4, "--count", 1500)
    finally:
        pods.exec("server", "sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 60999")


SLOW = """
import socket, sys, time
s = socket.create_connection((ADDRESS, 9300)); s.setblocking(False)
sent = 0; idle = time.time()
while time.time() - idle < 2:
    try: sent += s.send(bytes(1 << 16)); idle = time.time()
    except BlockingIOError: time.sleep(0.01)
    if sent > 256 << 20: break
print(sent, flush=True)
sys.stdin.readline()
s.setblocking(True); s.shutdown(socket.SHUT_WR)
assert int(s.recv(100)) == sent; print("all")
"""


def test_a_slow_reader_stops_a_fast_writer(pods):
    """What is under way is bounded by the buffers of a few sockets, and all of it arrives in the end."""
    address = pods.address("server")
    server = f"""
import socket, sys
listener = socket.create_server(({address!r}, 9300)); print("ready", flush=True)
s, _ = listener.accept(); sys.stdin.readline()
total = 0
while piece := s.recv(1 << 20): total += len(piece)
s.sendall(str(total).encode())"""
    reader = pods.start("server", sys.executable, "-c", server, stdin=-1)
    writer = None
    try:
        assert reader.stdout.readline() == "ready\n"
        before = usage(pods)
        writer = pods.start("client", sys.executable, "-c", SLOW.replace("ADDRESS", repr(address)), stdin=-1)
        sent = int(writer.stdout.readline())
        assert sent < 64 << 20
        after = usage(pods)
        for name in ("client", "server"):
            assert after[name]["memory"] < before[name]["memory"] + 8192
        reader.stdin.write("go\n")
        reader.stdin.flush()
        assert writer.communicate("go\n", timeout=30)[0] == "all\n"
    finally:
        for process in filter(None, (reader, writer)):
            process.kill()
            process.communicate()


FAILING = """
import errno, socket
try:
    s = socket.create_connection((ADDRESS, PORT), timeout=10); s.sendall(b"x"); print(repr(s.recv(10)))
except OSError as error: print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(("target", "port"), [("server", 9), ("nobody", 9), ("far away", 9)])
def test_refused_and_unreachable_are_errors_and_not_silence(pods, target, port):
    addresses = {"server": pods.address("server"), "nobody": "10.89.0.249", "far away": "198.51.100.1"}
    pods.exec("client", "ip", "route", "replace", "unreachable", "198.51.100.0/24")
    began = time.monotonic()
    text = FAILING.replace("ADDRESS", repr(addresses[target])).replace("PORT", str(port))
    assert pods.exec("client", sys.executable, "-c", text).stdout == "ECONNRESET\n"
    assert time.monotonic() - began < 8


RESETTING = """
import socket, struct, sys
listener = socket.create_server((ADDRESS, 9400)); print("ready", flush=True)
s, _ = listener.accept(); s.recv(1)
if sys.argv[1] == "resets":
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close(); print("reset", flush=True)
else:
    try: print(repr(s.recv(10)), flush=True)
    except OSError as error: print(type(error).__name__, flush=True)
"""


@pytest.mark.parametrize("who", ["server", "client"])
def test_a_reset_arrives_as_a_reset(pods, who):
    address = pods.address("server")
    what = "resets" if who == "server" else "waits"
    other = pods.start("server", sys.executable, "-c", RESETTING.replace("ADDRESS", repr(address)), what)
    try:
        assert other.stdout.readline() == "ready\n"
        text = f"""
import errno, socket, struct, time
s = socket.create_connection(({address!r}, 9400)); s.sendall(b"x"); time.sleep(0.3)
if {who == "client"}:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close(); print("reset")
else:
    try: print(s.recv(10))
    except OSError as error: print(type(error).__name__)"""
        said = pods.exec("client", sys.executable, "-c", text).stdout
        assert said == ("reset\n" if who == "client" else "ConnectionResetError\n")
        assert other.stdout.readline() == ("ConnectionResetError\n" if who == "client" else "reset\n")
    finally:
        other.kill()
        other.communicate()


def test_the_session_of_a_reset_stream_carries_the_next_one(pods):
    """A failed dial or a reset does not cost a handshake."""
    load(pods, "connect", "--concurrency", 1, "--count", 5)
    before = pods.counter("client", "sessions_dialled", fresh=True)
    text = FAILING.replace("ADDRESS", repr(pods.address("server"))).replace("PORT", "9")
    for _ in range(5):
        pods.exec("client", sys.executable, "-c", text)
    load(pods, "connect", "--concurrency", 1, "--count", 5)
    assert pods.counter("client", "sessions_dialled", fresh=True) == before


def test_a_server_that_speaks_first_is_heard_at_once(pods):
    address = pods.address("server")
    server = f"""
import socket
listener = socket.create_server(({address!r}, 9500)); print("ready", flush=True)
while True:
    s, _ = listener.accept(); s.sendall(b"220 hello"); s.recv(1)"""
    other = pods.start("server", sys.executable, "-c", server)
    try:
        assert other.stdout.readline() == "ready\n"
        text = f"""
import socket, time
for _ in range(3):
    t = time.time(); s = socket.create_connection(({address!r}, 9500)); assert s.recv(20) == b"220 hello"
    assert time.time() - t < 1; s.close()
print("heard")"""
        assert pods.exec("client", sys.executable, "-c", text).stdout == "heard\n"
    finally:
        other.kill()
        other.communicate()
