"""Applications on both sides see whom they really talk to, however the client connects."""

from __future__ import annotations

import json
import sys

import pytest

from datapath import scripts

pytestmark = pytest.mark.root
PORT = 9000

CONNECTS = {
    "blocking": "talk(socket.create_connection((ADDRESS, PORT)))",
    "non-blocking": """
import select
s = socket.socket(FAMILY); s.setblocking(False)
try: s.connect((ADDRESS, PORT))
except BlockingIOError: pass
select.select([], [s], []); assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
s.setblocking(True); talk(s)""",
    "in a child forked later": """
import os
child = os.fork()
if child == 0:
    talk(socket.create_connection((ADDRESS, PORT))); os._exit(0)
os.waitpid(child, 0)""",
    "bound to the pod's address": """
s = socket.socket(FAMILY); s.bind((OWN, 0)); s.connect((ADDRESS, PORT)); talk(s)""",
    "with fast open": """
s = socket.socket(FAMILY)
s.sendto(b"", 0x20000000, (ADDRESS, PORT)); talk(s)""",
}


@pytest.fixture(scope="module")
def pods(module_instance):
    """Two enrolled pods; `server` runs the echo server."""
    module_instance.run("server", sys.executable, "-u", "-c", scripts.server(PORT))
    module_instance.run("client", "sleep", "3600")
    module_instance.annotate("server", encrypt="true")
    module_instance.annotate("client", encrypt="true")
    return module_instance


def connect(pods, how: str, address: str, own: str) -> dict:
    family = "socket.AF_INET6" if ":" in address else "socket.AF_INET"
    text = how.replace("ADDRESS", repr(address)).replace("PORT", str(PORT)).replace("OWN", repr(own))
    done = pods.exec("client", sys.executable, "-c", scripts.client(text.replace("FAMILY", family)))
    return json.loads(done.stdout)


def plain(address: str) -> str:
    return address.removeprefix("::ffff:")


@pytest.mark.parametrize("how", CONNECTS)
@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_both_ends_name_each_other(pods, how, family):
    server, own = pods.pod("server").addresses[family], pods.pod("client").addresses[family]
    before = pods.counter("client", "streams_outbound")
    seen = connect(pods, CONNECTS[how], server, own)
    assert seen["echo"] == "hello"
    assert seen["peer"] == [server, PORT]
    assert seen["own"][0] == own
    for name in ("accept", "peer"):
        assert [plain(seen["server"][name][0]), seen["server"][name][1]] == seen["own"], name
    assert [plain(seen["server"]["own"][0]), seen["server"]["own"][1]] == [server, PORT]
    pods.wait_counter("client", "streams_outbound", before + 1)


def test_a_mapped_ipv6_socket_counts_as_ipv4(pods):
    server, own = pods.pod("server").addresses[0], pods.pod("client").addresses[0]
    how = "s = socket.socket(socket.AF_INET6); s.connect(('::ffff:' + ADDRESS, PORT)); talk(s)"
    seen = connect(pods, how, server, own)
    assert seen["peer"] == [f"::ffff:{server}", PORT]
    assert seen["own"][0] == f"::ffff:{own}"
    assert plain(seen["server"]["accept"][0]) == own


def test_the_address_is_right_on_a_connection_that_is_not_captured(pods):
    """A failed connect leaves nothing behind that a later one on the same socket would tell."""
    server, own = pods.pod("server").addresses[0], pods.pod("client").addresses[0]
    how = """
import threading
s = socket.socket(); s.connect((ADDRESS, PORT)); s.close()
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.setblocking(False)
try: s.connect((ADDRESS, 9))
except BlockingIOError: pass
import select, time
select.select([s], [], [], 5)
try: s.recv(1)
except OSError: pass
s.setblocking(True)
listener = socket.create_server(("127.0.0.1", 0))
while True:
    try: s.connect(listener.getsockname()); break
    except (ConnectionError, OSError) as e:
        if e.errno in (106,): raise
        time.sleep(0.01)
assert s.getpeername() == listener.getsockname(), s.getpeername()
assert s.getsockname()[0] == "127.0.0.1", s.getsockname()
talk(socket.create_connection((ADDRESS, PORT)))"""
    assert connect(pods, how, server, own)["echo"] == "hello"


def test_the_same_source_port_on_two_addresses_is_not_confused(pods):
    server, own = pods.pod("server").addresses[0], pods.pod("client").addresses[0]
    how = """
a = socket.socket(); a.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); a.bind((OWN, 41113))
b = socket.socket(); b.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); b.bind(("127.0.0.1", 41113))
a.connect((ADDRESS, PORT)); b.connect((ADDRESS, PORT))
assert a.getpeername() == b.getpeername() == (ADDRESS, PORT)
b.close(); talk(a)"""
    assert connect(pods, how, server, own)["server"]["accept"] == [f"::ffff:{own}", 41113]


def test_original_destination_is_answered_to_other_tools(pods):
    server, own = pods.pod("server").addresses[0], pods.pod("client").addresses[0]
    how = """
s = socket.create_connection((ADDRESS, PORT))
answer = s.getsockopt(socket.SOL_IP, 80, 16)
assert socket.inet_ntoa(answer[4:8]) == ADDRESS and int.from_bytes(answer[2:4], "big") == PORT, answer
talk(s)"""
    assert connect(pods, how, server, own)["echo"] == "hello"


def test_options_that_are_none_of_ours_are_answered_as_ever_however_much_room_there_is(pods):
    server, own = pods.pod("server").addresses[0], pods.pod("client").addresses[0]
    how = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
s = socket.create_connection((ADDRESS, PORT))
def asked(option):
    value, size = ctypes.create_string_buffer(8192), ctypes.c_uint32(8192)
    failed = libc.getsockopt(s.fileno(), socket.SOL_SOCKET, option, value, ctypes.byref(size))
    return errno.errorcode[ctypes.get_errno()] if failed else size.value
assert asked(socket.SO_RCVBUF) == 4, asked(socket.SO_RCVBUF)
assert asked(9999) == "ENOPROTOOPT", asked(9999)
talk(s)"""
    assert connect(pods, how, server, own)["echo"] == "hello"


def test_a_connection_that_sends_and_closes_at_once_loses_nothing(pods):
    server, own = pods.pod("server").addresses[0], pods.pod("client").addresses[0]
    before = pods.counter("client", "unknown_destination")
    how = """
for _ in range(500):
    s = socket.create_connection((ADDRESS, PORT)); s.sendall(b"x"); s.close()
talk(socket.create_connection((ADDRESS, PORT)))"""
    assert connect(pods, how, server, own)["echo"] == "hello"
    assert pods.counter("client", "unknown_destination") == before


def test_a_socket_bound_to_a_device_goes_direct_and_is_counted(pods):
    server, own = pods.pod("server").addresses[0], pods.pod("client").addresses[0]
    before = pods.counter("client", "hook_device_bound", fresh=True)
    how = "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, 25, b'eth0'); s.connect((ADDRESS, PORT)); talk(s)"
    assert connect(pods, how, server, own)["echo"] == "hello"
    pods.wait_counter("client", "hook_device_bound", before + 1)


def test_loopback_and_the_pods_own_address_are_left_alone(pods):
    own = pods.pod("client").addresses[0]
    before = pods.counter("client", "hook_redirected", fresh=True)
    how = f"""
for address in ("127.0.0.1", {own!r}, "::1"):
    listener = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    s = socket.create_connection(listener.getsockname()[:2])
    assert s.getpeername() == listener.getsockname()
    assert listener.accept()[1] == s.getsockname()
print("{{}}")"""
    connect(pods, how, "10.89.0.99", own)
    assert pods.counter("client", "hook_redirected", fresh=True) == before


def test_a_process_outside_the_pods_cgroup_is_not_captured(pods):
    server = pods.pod("server").addresses[0]
    before = pods.counter("client", "hook_redirected", fresh=True)
    text = f"import socket; s = socket.create_connection(({server!r}, {PORT})); print(s.recv(500).decode())"
    seen = json.loads(pods.in_network("client", sys.executable, "-c", text).stdout)
    assert plain(seen["accept"][0]) == pods.pod("client").addresses[0]
    assert pods.counter("client", "hook_redirected", fresh=True) == before


def test_the_redirect_port_itself_leads_nowhere(pods):
    how = """
s = socket.create_connection(("127.0.0.1", 18000)); s.settimeout(5)
try: got = s.recv(10)
except ConnectionResetError: got = "reset"
print(json.dumps({"got": got if isinstance(got, str) else got.decode()}))"""
    before = pods.counter("client", "unknown_destination")
    done = pods.exec("client", sys.executable, "-c", scripts.client(how))
    assert json.loads(done.stdout)["got"] == "reset"
    pods.wait_counter("client", "unknown_destination", before + 1)
