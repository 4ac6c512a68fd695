"""What leaves the pod is counted to the byte, by what can be told of it from outside, and by peer."""

from __future__ import annotations

import sys

import pytest

from hooks import hook_programs as programs
from hooks.hooked import running
from kube_gateway import _native
from kube_gateway.identity.authority import create_authority

pytestmark = pytest.mark.root

PORT = 9000
KINDS = ["tunnel", "tls", "plain", "udp", "other"]

SINK = """
import socket, sys, threading
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
def serve(connection):
    with connection:
        total = 0
        while piece := connection.recv(1 << 16):
            total += len(piece)
        connection.sendall(str(total).encode())
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""

# What the kernel has sent again of a connection's payload: tcpi_bytes_retrans of Linux's struct tcp_info.
AGAIN = """
def again(connection):
    return int.from_bytes(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 216)[208:], sys.byteorder)
"""

# Sends the pieces (hexadecimal, `*` and a number for repetition), each in a packet of its own; tells what arrived, and what
# was sent again.
SEND = f"""
import socket, sys, time
{AGAIN}
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in sys.argv[3:]:
        text, _, times = piece.partition("*")
        s.sendall(bytes.fromhex(text) * int(times or 1))
        time.sleep(0.02)
    s.shutdown(socket.SHUT_WR)
    print(s.recv(100).decode(), again(s))
"""

RECORD = "1603010005" + "01" * 5
BULK = "1703030400" + "aa" * 1024


@pytest.fixture(scope="module")
def sink(two):
    with running(two, "outside", SINK, str(PORT)):
        yield two


def totals(pod) -> dict[str, int]:
    return pod("sent")["totals"]


def peers(pod) -> dict[tuple[str, str], int]:
    return {(peer["address"], peer["kind"]): peer["bytes"] for peer in pod("sent")["peers"]}


def send(pod, address, *pieces) -> tuple[int, int]:
    """Bytes that arrived, and bytes that were sent again, which a busy machine does."""
    arrived, again = pod.python(SEND, address, str(PORT), *pieces).split()
    return int(arrived), int(again)


def only(**kinds: int) -> dict[str, int]:
    return dict.fromkeys(KINDS, 0) | kinds


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_plain_bytes_are_counted_exactly(sink, hooked, family):
    address = sink.address("outside", family)
    arrived, again = send(hooked, address, "61*3000000", "62*77")
    assert arrived == 3000077
    assert totals(hooked) == only(plain=arrived + again)
    assert peers(hooked) == {(address, "plain"): arrived + again}


def test_many_at_once_are_counted_exactly(sink, hooked):
    """On all CPUs, interrupted by what arrives."""
    text = f"""
import multiprocessing, socket, sys
{AGAIN}
def talk(number):
    total = 0
    for _ in range(20):
        with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
            s.sendall(b"x" * (number * 1000 + 1)); s.shutdown(socket.SHUT_WR)
            total += int(s.recv(100)) + again(s)
    return total
with multiprocessing.get_context("fork").Pool(8) as pool:
    print(sum(pool.map(talk, range(40))))
"""
    total = int(hooked.python(text, sink.address("outside"), str(PORT)))
    sent = hooked("sent")
    assert sent["totals"] == only(plain=total)
    assert sum(peer["bytes"] for peer in sent["peers"]) == total
    assert sum(peer["packets"] for peer in sent["peers"]) == sum(sent["packets"].values())


@pytest.mark.parametrize(
    ("pieces", "tls", "plain"),
    [
        ((RECORD, BULK + "*3", "61*200000"), 10 + 3 * 1029 + 200000, 0),
        # STARTTLS: some words first.
        (("61*30", "62*20", RECORD, BULK), 10 + 1029, 50),
        # Too late to believe it.
        (("61*2000", RECORD, BULK), 0, 2000 + 10 + 1029),
        # No record: version, type or length is wrong.
        (("1603050005" + "01" * 5,), 0, 10),
        (("1803010005" + "01" * 5,), 0, 10),
        (("160301ff05" + "01" * 5,), 0, 10),
        (("16030100",), 0, 4),
    ],
)
def test_what_looks_like_tls(sink, hooked, pieces, tls, plain):
    arrived, again = send(hooked, sink.address("outside"), *pieces)
    assert arrived == tls + plain
    # It counts as what the connection has become.
    assert totals(hooked) == (only(tls=tls + again, plain=plain) if tls else only(plain=plain + again))


TLS_SERVER = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[2], sys.argv[3])
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
        connection.sendall(b"a" * len(connection.recv(65536)) * 10000)
"""

TLS_CLIENT = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
with context.wrap_socket(socket.create_connection((sys.argv[1], int(sys.argv[2])))) as s:
    s.sendall(b"hello")
    print(sum(map(len, iter(lambda: s.recv(65536), b""))))
"""


@pytest.mark.parametrize(("client", "server"), [("inside", "outside"), ("outside", "inside")])
def test_real_tls_is_known_from_both_ends(two, hooked, tmp_path, client, server):
    create_authority(tmp_path / "authority")
    files = [str(tmp_path / "authority" / name) for name in ("ca.crt", "ca.key")]
    with running(two, server, TLS_SERVER, "9443", *files):
        done = two.exec(client, sys.executable, "-c", TLS_CLIENT, two.address(server), "9443")
    assert done.stdout == "50000\n"
    found = totals(hooked)
    assert found == only(tls=found["tls"])
    assert found["tls"] > (50000 if server == "inside" else 5)


def test_only_the_gateways_own_tunnels_are_tunnels(two, hooked):
    address = two.address("outside")
    with running(two, "outside", programs.SERVE, "18443"):
        hooked("send", address=address, port=18443, text=bytes.fromhex(RECORD).decode())
        assert totals(hooked) == only(tunnel=10)
        hooked.python(SEND.replace("s.recv(100)", "s.makefile('rb').read()"), address, "18443", "61*5")
        assert totals(hooked) == only(tunnel=10, plain=5)
        assert peers(hooked) == {(address, "tunnel"): 10, (address, "plain"): 5}


def test_what_the_gateway_says_in_clear_to_the_tunnels_port_is_no_tunnel(two, hooked):
    """What an application says to a stranger, and is relayed."""
    address = two.address("outside")
    with running(two, "outside", programs.SERVE, "18443"):
        hooked("send", address=address, port=18443, text="from the gateway")
        assert totals(hooked) == only(plain=len("from the gateway"))


def test_a_tunnel_that_was_accepted_is_one(two, hooked):
    hooked("echo", port=18443)
    text = "import socket, sys; s = socket.create_connection((sys.argv[1], 18443)); s.sendall(b'x' * 99); s.recv(99)"
    two.exec("outside", sys.executable, "-c", text, hooked.address)
    assert totals(hooked) == only(tunnel=99)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_datagrams_are_counted(two, hooked, family):
    address = two.address("outside", family)
    for how in ("connected", "not connected"):
        hooked.python(programs.DATAGRAM, address, "9999", how)
    assert totals(hooked) == only(udp=2 * len("datagram in clear"))
    assert peers(hooked) == {(address, "udp"): 34}
    assert hooked("sent")["packets"]["udp"] == 2


def test_what_stays_in_the_pod_is_not_counted(two, hooked):
    with running(two, "inside", SINK, "9100"):
        for address in ("127.0.0.1", "::1", hooked.address, hooked.address6):
            hooked.python(SEND.replace("int(sys.argv[2])", "9100"), address, "0", "61*100")
            hooked.python(programs.DATAGRAM, address, "9999", "connected")
    assert totals(hooked) == only()
    assert peers(hooked) == {}


def test_what_was_dropped_is_not_counted(two, hooked):
    hooked.configure(udp="block")
    hooked.python(programs.DATAGRAM, two.address("outside"), "9999", "connected")
    assert totals(hooked) == only()


def test_peers_beyond_the_limit_are_counted_together(two, hooked):
    text = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(18000):
    s.sendto(b"x" * 10, (f"10.90.{number >> 8}.{number & 255}", 9999))
"""
    hooked.python(text)
    sent = hooked("sent")
    assert sent["totals"] == only(udp=180000)
    by_address = {peer["address"]: peer["bytes"] for peer in sent["peers"]}
    # One place is kept for each kind.
    assert len(by_address) == 16384 - len(KINDS) + 1
    assert by_address["::"] == 180000 - 10 * (len(by_address) - 1)
    assert by_address["10.90.0.1"] == 10


def test_counting_goes_on_when_the_maps_are_handed_over():
    older = _native.Hooks()
    newer = _native.Hooks(maps=older.maps())
    assert newer.sent() == older.sent()


def test_it_goes_on_when_the_gateway_is_killed(sink, hooked):
    """Nobody is there to read it, but a gateway that had been given the maps would find it; the pod is served as before."""
    hooked.kill()
    assert send(hooked, sink.address("outside"), "61*1000")[0] == 1000
