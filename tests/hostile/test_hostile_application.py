"""The application in the pod is hostile: it uses the gateway's own ports and sockets. Nothing loops, leaks or ends."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time

import pytest

from datapath import scripts
from hostile.length import amount
from kube_gateway.control import messages
from kube_gateway.local.services import LocalService

pytestmark = pytest.mark.root
PORT = 9000
OWN_PORTS = (
    "An application that connects to a gateway's own ports, directly or by a Service, reaches nobody and starts no loop"
)
SQUATTING = "An application that has taken the gateway's ports is named in the log and gets no connection of others"
OPTIONS = "Whatever an application asks its sockets for, it is told its own destinations and nothing crashes"
FORKS = "Connections of children and grandchildren are encrypted as their parents' are"
CONTROL = "Nobody but a gateway, found by the kernel in the gateway's cgroup, is answered on the control socket"

# Connects to each of PLACES, says something, and prints how it ended.
VISIT = """
import errno, json, os, socket
def visit(address, port):
    try:
        with socket.create_connection((address, port), timeout=12) as s:
            s.settimeout(12)
            s.sendall(os.urandom(200)); said = s.recv(65536)
            # A TLS alert is what a tunnel port says to whom it does not understand.
            return "alert" if said[:1] == b"\\x15" else "answered" if said else "ended"
    except OSError as error: return errno.errorcode.get(error.errno, type(error).__name__)
print(json.dumps([visit(*place) for place in PLACES]))
"""


@pytest.fixture(scope="module")
def pods(module_instance):
    """The hostile one and a friend, both enrolled, both with the echo server."""
    for name in ("hostile", "friend"):
        module_instance.run(name, sys.executable, "-u", "-c", scripts.server(PORT))
        module_instance.annotate(name, encrypt="true")
    return module_instance


@pytest.fixture(autouse=True)
def the_gateways_live_on(pods):
    """Before and after each test the same workers serve an honest connection."""
    workers = [pods.gateway_processes(name)["worker"] for name in ("hostile", "friend")]
    yield
    assert visit(pods, [(pods.address("friend"), PORT)]) == ["answered"]
    assert [pods.gateway_processes(name)["worker"] for name in ("hostile", "friend")] == workers


def visit(pods, places: list[tuple[str, int]], *, source: str = "hostile") -> list[str]:
    return json.loads(
        pods.exec(source, sys.executable, "-c", VISIT.replace("PLACES", repr(places)), timeout=120).stdout
    )


def begun(pods) -> int:
    """How many connections and tunnels either gateway has begun or taken."""
    names = ("streams_outbound", "streams_inbound", "sessions_dialled", "sessions_accepted", "own_outbound")
    time.sleep(1.4)
    return sum(pods.counter(pod, name) for pod in ("hostile", "friend") for name in names)


def test_the_gateways_own_ports_lead_nowhere(pods, figures):
    own, own6 = pods.address("hostile"), pods.address("hostile", 1)
    friend, friend6 = pods.address("friend"), pods.address("friend", 1)
    hosts = ("127.0.0.1", "::1", own, own6, friend, friend6, "::ffff:127.0.0.1", f"::ffff:{own}")
    places = [(host, port) for host in hosts for port in (18000, 18001, 18443)]
    before = begun(pods)
    ended = dict(zip(places, visit(pods, places), strict=True))
    assert "answered" not in ended.values(), ended
    assert set(ended.values()) <= {"alert", "ended", "ECONNRESET", "ECONNREFUSED", "EPIPE"}, ended
    # What goes to a friend's port begins a stream there, which is denied; nothing begins anything further.
    assert begun(pods) - before <= len(places)
    pods.wait_log("hostile", "a connection to port 18000 that no hook redirected was reset")
    pods.wait_log("friend", "the port is the gateway's own")
    figures(OWN_PORTS, places=len(places), reached=0, connections_begun=begun(pods) - before)


def test_services_that_lead_back_make_no_loop(pods, figures):
    targets = [("hostile", port) for port in (18000, 18001, 18443, PORT)] + [
        ("friend", port) for port in (18000, 18443)
    ]
    addresses = [f"10.89.200.{number + 1}" for number in range(len(targets))]
    for number, target in enumerate(targets):
        service = LocalService(name=f"loop-{number}", address=addresses[number], port=80, to=(target,))
        pods.client.set_service(service)
    before = begun(pods)
    try:
        ended = dict(zip(targets, visit(pods, [(address, 80) for address in addresses]), strict=True))
    finally:
        for number in range(len(targets)):
            pods.client.delete_service(f"loop-{number}")
    assert ended.pop(("hostile", PORT)) == "answered"
    assert set(ended.values()) <= {"alert", "ended", "ECONNRESET", "ECONNREFUSED"}, ended
    assert begun(pods) - before <= 2 * len(targets)
    figures(OWN_PORTS, services_that_lead_back=len(targets), reached=0, connections_begun=begun(pods) - before)


SQUATTER = """
import json, select, socket, sys
held = []
for family, address, port in PLACES:
    s = socket.socket(family, socket.SOCK_STREAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((address, port)); s.listen(16); held.append(s)
print("ready", flush=True)
came = 0
while True:
    ready, _, _ = select.select([*held, sys.stdin], [], [])
    if sys.stdin in ready: break
    for s in ready:
        connection, _ = s.accept(); came += 1; connection.close()
print(came)
"""


@pytest.mark.parametrize(
    ("places", "encrypt"),
    [
        ([(2, "127.0.0.1", 18000)], "true"),
        ([(2, "0.0.0.0", 18000), (10, "::", 18000)], "true"),
        ([(2, "0.0.0.0", 18443), (10, "::", 18443)], "true"),
        ([(2, "127.0.0.1", 18000)], "strict"),
        ([(2, "0.0.0.0", 18443), (10, "::", 18443)], "strict"),
    ],
    ids=["redirect", "redirect on all", "tunnel", "redirect strict", "tunnel strict"],
)
def test_a_squatter_of_the_ports_gets_nothing_and_is_named(pods, figures, places, encrypt):
    name = f"squat-{places[0][2]}-{len(places)}-{encrypt}"
    pods.run(name, "sleep", "3600")
    squatter = pods.start(name, sys.executable, "-c", SQUATTER.replace("PLACES", repr(places)), stdin=-1)
    try:
        assert squatter.stdout.readline() == "ready\n"
        pods.client.annotate(name, {"kube-gateway.io/encrypt": encrypt}, remove=[])
        pods.wait_log(name, f"port {places[0][2]} on ")
        assert "is taken by another process of the pod" in pods.log(name)
        assert pods.pod(name).gateway != "ready"
        # Others of the pod are not handed to it; without a gateway they are as they were, or refused where all is strict.
        friend = [(pods.address("friend"), PORT)] * 10
        assert visit(pods, friend, source=name) == ["answered" if encrypt == "true" else "ECONNREFUSED"] * 10
        # Nor does it change anything for anybody else.
        assert visit(pods, friend) == ["answered"] * 10
        came, _ = squatter.communicate("\n", timeout=20)
        assert came.strip() == "0"
        # With the ports free the next gateway starts.
        assert pods.client.wait_settled(name, timeout=60).gateway == "ready"
        assert visit(pods, friend, source=name) == ["answered"] * 10
        figures(SQUATTING, connections_of_others=20, taken_by_the_squatter=0)
    finally:
        squatter.kill()
        squatter.communicate()
        pods.client.delete(name)


GAMES = """
import ctypes, json, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def ask(s, level, option, size, buffer=4096):
    length = ctypes.c_uint(size); data = ctypes.create_string_buffer(b"\\xaa" * buffer, buffer)
    result = libc.getsockopt(s.fileno(), level, option, data, ctypes.byref(length))
    return result, ctypes.get_errno() if result else 0, length.value, data.raw[:16]
asked, wrong = 0, []
sockets = [socket.socket(socket.AF_INET), socket.socket(socket.AF_INET6), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
connected = socket.create_connection((ADDRESS, PORT)); sockets.append(connected)
pair = socket.socketpair(); sockets += pair
for s in sockets:
    for level in (0, 1, 6, 41, 255, -1, 0x6b67):
        for option in [*range(70, 100), -1, 2**31 - 1, 0x6b67]:
            for size in (0, 1, 4, 15, 16, 17, 28, 4096, 2**31 - 1):
                asked += 1
                result, error, length, data = ask(s, level, option, size)
                if result == 0 and s is connected and level == 0 and option == 80 and size >= 16:
                    port, address = struct.unpack(">H", data[2:4])[0], socket.inet_ntoa(data[4:8])
                    if (address, port) != (ADDRESS, PORT): wrong.append((address, port))
                if length > 4096 and result == 0: wrong.append(("length", level, option, size, length))
connected.sendall(b"still here"); got = b""
while b"still here" not in got:
    piece = connected.recv(4096)
    if not piece: break
    got += piece
print(json.dumps({"asked": asked, "wrong": wrong, "alive": b"still here" in got, "peer": connected.getpeername()}))
"""


def test_games_with_socket_options(pods, figures):
    friend = pods.address("friend")
    text = GAMES.replace("ADDRESS", repr(friend)).replace("PORT", str(PORT))
    told = json.loads(pods.exec("hostile", sys.executable, "-c", text).stdout)
    assert told["wrong"] == []
    assert told["alive"]
    assert told["peer"] == [friend, PORT]
    figures(OPTIONS, options_asked_for=told["asked"], wrong_answers=0)


CHILDREN = """
import os, socket, sys
for number in range(COUNT):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            try:
                with socket.create_connection((ADDRESS, PORT), timeout=20) as s:
                    s.sendall(MARKER); got = b""
                    while MARKER not in got: got += s.recv(4096) or sys.exit(1)
                os.write(1, b".")
            finally: os._exit(0)
        os._exit(0)
    os.wait()
"""


def test_children_are_encrypted_too(pods, figures):
    count = amount(full=500, short=60)
    marker = secrets.token_hex(16).encode()
    text = CHILDREN.replace("ADDRESS", repr(pods.address("friend"))).replace("PORT", str(PORT))
    text = text.replace("COUNT", str(count)).replace("MARKER", repr(marker))
    with pods.capture("hostile") as wire:
        done = pods.exec("hostile", sys.executable, "-c", text, timeout=120).stdout
    assert done == "." * count
    assert not wire.seen(marker)
    assert PORT not in wire.ports()
    figures(FORKS, grandchildren=count, bytes_in_clear=0)


HELLO = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(PATH); s.settimeout(5)
s.sendall(SAID)
try: print("answered" if s.recv(65536) else "ended")
except OSError as error: print(type(error).__name__)
"""


def test_the_control_socket_answers_gateways_only(pods, figures):
    path = str(pods.instance.directory / "control.sock")
    tried = 0
    for name in ("hostile", "friend"):
        uid = pods.record(name).pod.uid
        for generation in (1, 2, 0, 2**31):
            said = messages.encode(messages.Hello(pod=f"default/{name}", uid=uid, generation=generation, version="0"))
            said += messages.encode(messages.CertificateRequest(number=1, csr="x"))
            text = HELLO.replace("PATH", repr(path)).replace("SAID", repr(said))
            assert pods.exec("hostile", sys.executable, "-c", text).stdout.strip() in {"ended", "ConnectionResetError"}
            tried += 1
    for said in (b"", b"\n", b"{}\n", b'{"x":' + b"[" * 100_000 + b"\n", os.urandom(2_000_000) + b"\n"):
        text = HELLO.replace("PATH", repr(path)).replace("s.sendall(SAID)", "s.sendall(sys.stdin.buffer.read())")
        text = text.replace("s.settimeout(5)", "s.settimeout(20)")
        line = pods.exec("hostile", sys.executable, "-c", text, input=said.decode("latin-1"), check=False).stdout
        assert "answered" not in line
        tried += 1
    assert pods.client.is_up()
    figures(CONTROL, tried=tried, answered=0)
