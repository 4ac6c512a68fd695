"""Nothing new leaves a strict pod in clear, not past connect() and not without a gateway; of UDP, what may."""

from __future__ import annotations

import pytest

from hooks import hook_programs as programs
from hooks.hooked import running

pytestmark = pytest.mark.root

PORT = 9000
MARKER = b"datagram in clear"
STRICT = {"strict": True, "gate": "all"}


@pytest.fixture(scope="module")
def listening(two):
    """The other pod listens."""
    with running(two, "outside", programs.SERVE, str(PORT)):
        yield two


def connect(pod, address, port=PORT, *, patience="1") -> str:
    return pod.python(programs.CONNECT, address, str(port), patience)


def nothing_left(wire, port=PORT) -> bool:
    return not wire.seen(MARKER) and port not in wire.ports()


# TCP


@pytest.mark.parametrize("killed", [False, True], ids=["with a gateway", "without"])
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_connect_is_refused(listening, hooked, family, killed):
    address = listening.address("outside", family)
    assert connect(hooked, address) == "connected"
    hooked.configure(**STRICT)
    if killed:
        hooked.kill()
    with listening.capture("inside") as wire:
        assert connect(hooked, address) == "ConnectionRefusedError soon"
    assert nothing_left(wire)


@pytest.mark.parametrize("killed", [False, True], ids=["with a gateway", "without"])
def test_what_connect_does_not_capture_is_dropped(listening, hooked, killed):
    """Of a pod that is not known to have IPv6 the connect hook leaves IPv6 alone."""
    hooked.configure(**STRICT, addresses=[hooked.address])
    before = hooked.counter("egress_refused")
    with listening.capture("inside") as wire:
        assert connect(hooked, listening.address("outside", 1)) == "TimeoutError late"
        assert hooked.counter("egress_refused") > before
        if killed:
            hooked.kill()
            assert connect(hooked, listening.address("outside", 1)) == "TimeoutError late"
    assert nothing_left(wire)


SEND_FIRST = """
import socket, sys
s = socket.socket(); s.settimeout(1)
EXTRA
try:
    s.sendto(b"datagram in clear", socket.MSG_FASTOPEN, (sys.argv[1], int(sys.argv[2]))); print("sent")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("killed", [False, True], ids=["with a gateway", "without"])
@pytest.mark.parametrize("extra", ["", "s.setsockopt(socket.IPPROTO_TCP, 34, 1)"], ids=["with a cookie", "without"])
def test_data_in_the_first_packet(listening, hooked, extra, killed):
    text = SEND_FIRST.replace("EXTRA", extra)
    listening.in_network("inside", "sysctl", "-qw", "net.ipv4.tcp_fastopen=0x5")
    with listening.capture("inside") as wire:
        assert hooked.python(text, listening.address("outside"), str(PORT)) == "sent"
    assert PORT in wire.ports()
    hooked.configure(**STRICT)
    if killed:
        hooked.kill()
    with listening.capture("inside") as wire:
        assert hooked.python(text, listening.address("outside"), str(PORT)) == "ConnectionRefusedError"
    assert nothing_left(wire)


@pytest.mark.parametrize("option", ["s.setsockopt(socket.SOL_SOCKET, 25, b'eth0')", "s.bind((OWN, 0))"])
def test_sockets_that_are_bound(listening, hooked, option):
    text = f"""
import socket, sys
s = socket.socket(); s.settimeout(1)
{option.replace("OWN", repr(hooked.address))}
print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))
"""
    hooked.configure(**STRICT)
    with listening.capture("inside") as wire:
        assert hooked.python(text, listening.address("outside"), str(PORT)) == "111"
    assert nothing_left(wire)


RAW = """
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
header = struct.pack("!HHIIBBHHH", 40000, int(sys.argv[2]), 1, 1, 0x50, int(sys.argv[3], 16), 1000, 0, 0)
try:
    s.sendto(header + b"datagram in clear", (sys.argv[1], 0)); print("sent")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("flags", ["02", "12", "18", "10"], ids=["SYN", "SYN and ACK", "PSH and ACK", "ACK"])
def test_tcp_that_a_program_makes_up_itself(listening, hooked, flags):
    order = (RAW, listening.address("outside"), str(PORT), flags)
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "sent"
    assert wire.seen(MARKER)
    hooked.configure(**STRICT)
    hooked.kill()
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "PermissionError"
    assert nothing_left(wire)


def test_what_stands_goes_on(listening, hooked):
    text, address = programs.CLIENT, listening.address("outside")
    with running(listening, "inside", text, address, str(PORT)) as client:
        hooked.configure(**STRICT)
        client.stdin.write("strict\n")
        client.stdin.flush()
        assert client.stdout.readline() == "strict\n"
        hooked.kill()
        client.stdin.write("alone\n")
        client.stdin.flush()
        assert client.stdout.readline() == "alone\n"


@pytest.mark.parametrize("killed", [False, True], ids=["with a gateway", "without"])
@pytest.mark.parametrize(
    "excluded", [{"excluded_ports": [PORT]}, {"rules": [("0.0.0.0", 0, True), ("10.89.0.0", 24, False)]}]
)
def test_what_is_excluded_passes(listening, hooked, excluded, killed):
    hooked.configure(**STRICT, **excluded)
    if killed:
        hooked.kill()
    assert connect(hooked, listening.address("outside")) == "connected"


def test_the_gateway_itself_goes_to_tunnels_and_to_the_watcher(listening, hooked):
    outside = listening.address("outside")
    hooked.configure(**STRICT, control_port=18444)
    with listening.capture("inside") as wire:
        assert hooked("send", address=outside, port=PORT, text="hello") == "TimeoutError"
        # Nobody listens there, but the answer came.
        assert hooked("send", address=outside, port=18443, text="hello") == "ConnectionRefusedError"
        assert hooked("send", address=outside, port=18444, text="hello") == "ConnectionRefusedError"
    assert nothing_left(wire)
    # The application does not.
    assert connect(hooked, outside, 18444) == "ConnectionRefusedError soon"
    assert hooked.counter("hook_refused_no_gateway") == 1
    hooked.configure(**STRICT, errands=True)
    assert hooked("send", address=outside, port=PORT, text="hello").startswith(f"::ffff:{hooked.address}\n")


def test_a_pod_that_only_accepts_sends_as_before(listening, hooked):
    hooked.configure(**STRICT, capture=False)
    assert connect(hooked, listening.address("outside")) == "connected"


# UDP


@pytest.fixture(params=["block", "dns-only"])
def udp(request):
    return request.param


@pytest.mark.parametrize("killed", [False, True], ids=["with a gateway", "without"])
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("how", ["connected", "not connected"])
def test_datagrams(listening, hooked, udp, how, family, killed):
    order = (programs.DATAGRAM, listening.address("outside", family), "9999", how)
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "sent"
    assert wire.seen(MARKER)
    assert (hooked.counter("udp_packets"), hooked.counter("udp_refused")) == (1, 0)
    hooked.configure(udp=udp)
    if killed:
        hooked.kill()
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "PermissionError"
    assert nothing_left(wire)
    if not killed:
        assert (hooked.counter("udp_packets"), hooked.counter("udp_refused")) == (2, 1)


def test_dns(listening, hooked, udp):
    hooked.configure(udp=udp)
    order = (programs.DATAGRAM, listening.address("outside"), "53", "not connected")
    assert hooked.python(*order) == ("sent" if udp == "dns-only" else "PermissionError")


@pytest.mark.parametrize(
    "excluded", [{"excluded_ports": [9999]}, {"rules": [("0.0.0.0", 0, True), ("10.89.0.0", 24, False)]}]
)
def test_datagrams_to_what_is_excluded(listening, hooked, udp, excluded):
    hooked.configure(udp=udp, **excluded)
    order = (programs.DATAGRAM, listening.address("outside"), "9999", "connected")
    assert hooked.python(*order) == "sent"


def test_datagrams_within_the_pod(listening, hooked, udp):
    hooked.configure(udp=udp)
    for address in ("127.0.0.1", "::1", hooked.address, hooked.address6):
        assert hooked.python(programs.DATAGRAM, address, "9999", "not connected") == "sent", address


def test_datagrams_of_the_gateway(listening, hooked, udp):
    """It may have to look up the watcher's name."""
    hooked.configure(udp=udp)
    assert hooked("datagram", address=listening.address("outside"), port=9999, text="lookup") == "sent"


VARIANTS = {
    "larger than a packet": "s = socket.socket(FAMILY, socket.SOCK_DGRAM); data = data * 500",
    "UDP-Lite": "s = socket.socket(FAMILY, socket.SOCK_DGRAM, 136)",
    "made up by a program": """
s = socket.socket(FAMILY, socket.SOCK_RAW, 17); target = (target[0], 0)
data = struct.pack("!HHHH", 40000, port, 8 + len(data), 0) + data""",
    "a fragment made up by a program": """
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255); s.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
target = (target[0], 0)
addresses = bytes(4) + socket.inet_aton(target[0])
data = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(data), 7, 100, 64, 17, 0) + addresses + data""",
}
SEND = """
import socket, struct, sys
data, port = b"datagram in clear", int(sys.argv[2])
target = (sys.argv[1], port)
FAMILY = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
HOW
try:
    s.sendto(data, target); print("sent")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("how", VARIANTS)
def test_datagrams_of_other_kinds(listening, hooked, udp, how):
    order = (SEND.replace("HOW", VARIANTS[how]), listening.address("outside"), "9999")
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "sent"
    assert wire.seen(MARKER)
    hooked.configure(udp=udp)
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "PermissionError"
    assert nothing_left(wire)


# RFC 8754, one segment that is the destination; setting it takes no privilege.
ROUTED = """
s = socket.socket(FAMILY, TYPE); s.settimeout(1)
s.setsockopt(41, 57, bytes([0, 2, 4, 0, 0, 0, 0, 0]) + socket.inet_pton(FAMILY, target[0]))
"""


def test_an_extension_header_hides_no_datagram(listening, hooked, udp):
    text = SEND.replace("HOW", ROUTED.replace("TYPE", "socket.SOCK_DGRAM"))
    order = (text, listening.address("outside", 1), "9999")
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "sent"
    assert wire.seen(MARKER)
    hooked.configure(udp=udp)
    with listening.capture("inside") as wire:
        assert hooked.python(*order) == "PermissionError"
    assert nothing_left(wire)


def test_an_extension_header_hides_no_connection(listening, hooked):
    how = ROUTED.replace("TYPE", "socket.SOCK_STREAM") + "print(s.connect_ex(target)); sys.exit()"
    order = (SEND.replace("HOW", how), listening.address("outside", 1), str(PORT))
    hooked.configure(**STRICT, addresses=[hooked.address])
    before = hooked.counter("egress_refused")
    with listening.capture("inside") as wire:
        assert hooked.python(*order) != "0"
    assert hooked.counter("egress_refused") > before
    assert nothing_left(wire)


# An echo request; of ICMPv6 the kernel fills in the checksum.
PING = """
import socket, struct, sys
ipv6 = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_RAW, 58 if ipv6 else 1); s.settimeout(2)
s.sendto(struct.pack("!BBHHH", 128 if ipv6 else 8, 0, 0 if ipv6 else 0xf7fe, 0, 1), (sys.argv[1], 0))
print("answered" if s.recv(2000) else "")
"""


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_other_protocols_are_left_alone(listening, hooked, udp, family):
    hooked.configure(**STRICT, udp=udp)
    assert hooked.python(PING, listening.address("outside", family)) == "answered"
