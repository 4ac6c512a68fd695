"""What applications do in the tests of the hooks, as text for `python -c`; the arguments are an address and a port."""

from __future__ import annotations

# Accepts on both families, answers each connection with the address it sees, and goes on echoing.
SERVE = """
import socket, sys, threading
listener = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
def serve(connection):
    connection.sendall(connection.getpeername()[0].encode() + b"\\n")
    while piece := connection.recv(65536):
        connection.sendall(piece)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""

# What becomes of a connection; of one that fails, whether that took as long as it was waited for.
CONNECT = """
import socket, sys, time
patience, began = float(sys.argv[3]), time.monotonic()
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=patience) as s:
        print("connected" if s.recv(100) else "closed")
except OSError as error:
    print(type(error).__name__, "soon" if time.monotonic() - began < 0.8 * patience else "late")
"""

# One connection that is made once and says what it is told, a line at a time; prints what comes back.
CLIENT = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
reader = s.makefile("rb")
reader.readline()
print("ready", flush=True)
for line in sys.stdin:
    s.sendall(line.encode())
    print(reader.readline().decode(), end="", flush=True)
"""

DATAGRAM = """
import socket, sys
address, port, connected = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "connected"
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
try:
    if connected:
        s.connect((address, port)); s.send(b"datagram in clear")
    else:
        s.sendto(b"datagram in clear", (address, port))
    print("sent")
except OSError as error:
    print(type(error).__name__)
"""

# Tries as fast as it can until it is told to stop, and says what came of it.
HAMMER = """
import collections, json, select, socket, sys
seen = collections.Counter()
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    s = socket.socket(); s.settimeout(2)
    try:
        s.connect((sys.argv[1], int(sys.argv[2]))); seen["connected"] += 1
    except OSError as error: seen[type(error).__name__] += 1
    s.close()
print(json.dumps(seen), flush=True)
"""
