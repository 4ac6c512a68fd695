"""A process that is killed ends nothing in order: what was cut must not look whole to whoever reads to the end."""

from __future__ import annotations

import sys
import time

import pytest

pytestmark = pytest.mark.root

CLAIM = "What a killed worker carried is seen as reset by both applications, never as an end in order"
PORT = 9200
CONNECTIONS = 20

# Everything that is said is read before the end, so that nothing but the end itself can tell.
_HOW_IT_ENDS = """
import socket, sys, threading
def wait(s):
    try: sys.stdout.write("ended\\n" if s.recv(100) == b"" else "more\\n")
    except ConnectionResetError: sys.stdout.write("reset\\n")
"""
_SERVER = f"""{_HOW_IT_ENDS}
def serve(s, _): s.sendall(b"half of it"); assert s.recv(100) == b"a question"; s.sendall(b"heard"); wait(s)
listener = socket.create_server(("", {PORT}))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept()).start()
"""
_CLIENT = f"""{_HOW_IT_ENDS}
connections = [socket.create_connection((TO, {PORT}), timeout=20) for _ in range({CONNECTIONS})]
for s in connections: assert s.recv(100) == b"half of it"; s.sendall(b"a question")
for s in connections: assert s.recv(100) == b"heard"
print("standing", flush=True)
for s in connections: wait(s)
"""


@pytest.mark.parametrize(
    ("enrolled", "killed"),
    [(("left", "right"), "left"), (("left", "right"), "right"), (("left",), "left")],
    ids=["tunnel, of the client", "tunnel, of the server", "in clear"],
)
def test_what_a_killed_worker_carried_is_reset_on_both_sides(instance, figures, enrolled, killed):
    instance.run("left", "sleep", "infinity")
    instance.run("right", sys.executable, "-u", "-c", _SERVER)
    for name in enrolled:
        instance.annotate(name, encrypt="true")
    text = _CLIENT.replace("TO", repr(instance.address("right")))
    client = instance.start("left", sys.executable, "-u", "-c", text)
    assert client.stdout.readline() == "standing\n", client.communicate()
    instance.kill_gateway(killed, "worker")
    ends = client.communicate(timeout=20)[0].split()
    served = _served(instance)
    assert (ends, served) == (["reset"] * CONNECTIONS, ["reset"] * CONNECTIONS)
    figures(CLAIM, connections=CONNECTIONS, reset_at_client=ends.count("reset"), reset_at_server=served.count("reset"))


def _served(instance):
    deadline = time.monotonic() + 10
    while len(ends := instance.log("right", "app").split()[1:]) < CONNECTIONS and time.monotonic() < deadline:
        time.sleep(0.1)
    return ends
