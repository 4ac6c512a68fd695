"""Small programs that tests run inside pods, as text: what they print is what the tests look at."""

from __future__ import annotations

# Accepts on all addresses; answers each connection with one line of JSON on who it is, then echoes until the end.
SERVER = """
import json, socket, threading
listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096)
def serve(connection, accepted):
    try:
        names = {"accept": accepted[:2], "peer": connection.getpeername()[:2], "own": connection.getsockname()[:2]}
        connection.sendall(json.dumps(names).encode() + b"\\n")
        while piece := connection.recv(65536):
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        print(repr(error), flush=True)
    finally:
        connection.close()
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=listener.accept(), daemon=True).start()
"""

# Connects as HOW says, prints what both ends see of each other.
CLIENT = """
import json, socket, sys
def talk(connection):
    reader = connection.makefile("rb")
    server = json.loads(reader.readline())
    peer, own = connection.getpeername()[:2], connection.getsockname()[:2]
    connection.sendall(b"hello")
    connection.shutdown(socket.SHUT_WR)
    echo = reader.read().decode()
    print(json.dumps({"peer": peer, "own": own, "server": server, "echo": echo}), flush=True)
"""


def server(port: int) -> str:
    """The echo server on `port`."""
    return SERVER.replace("PORT", str(port))


def client(how: str) -> str:
    """The client; `how` is Python text that makes a connected socket and calls `talk` with it."""
    return CLIENT + how
