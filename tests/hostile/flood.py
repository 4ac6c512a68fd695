"""A flood of connections to a gateway's tunnel port, as told on stdin; run in a pod's network as `python flood.py`.

The first line of stdin is JSON: `to`, `sources` (addresses to come from, in turn), `count`, and `kind`:

- `half`: a ClientHello up to its middle, then nothing
- `drip`: a ClientHello, one byte of it a second
- `idle`: a handshake with `chain` and `key`, then nothing
- `open-half`: the same, then half of an OPEN
- `greedy`: the same, then OPEN to `port` and data that is echoed and never read

It prints `ready` when all were begun, goes on until stdin ends, and then prints as JSON how many connections were made and
how many of them stand.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import sys
import threading
import time

from hostile.peer import context, frame, open_frame

MOST = 16_000


def hello() -> bytes:
    """What a client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols(["kube-gateway/1"])
    tls = made.wrap_bio(incoming, outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


class Flood:
    def __init__(self, order: dict) -> None:
        self.order = order
        self.sources = itertools.cycle(order["sources"])
        self.held: list[socket.socket] = []
        self.ending = threading.Event()
        self.hello = hello()
        self.tls = context(order) if order.get("chain") else None

    def connect(self) -> socket.socket:
        return socket.create_connection((self.order["to"], 18443), timeout=20, source_address=(next(self.sources), 0))

    def begin(self) -> None:
        for _ in range(self.order["count"]):
            try:
                self.held.append(getattr(self, self.order["kind"].replace("-", "_"))())
            except OSError:
                # Turned away: it comes again.
                continue

    def half(self) -> socket.socket:
        connection = self.connect()
        connection.sendall(self.hello[: len(self.hello) // 2])
        return connection

    def drip(self) -> socket.socket:
        connection = self.connect()
        connection.sendall(self.hello[:1])
        return connection

    def idle(self) -> socket.socket:
        assert self.tls is not None
        return self.tls.wrap_socket(self.connect())

    def open_half(self) -> socket.socket:
        connection = self.idle()
        connection.sendall(self.opening()[:9])
        return connection

    def greedy(self) -> socket.socket:
        connection = self.idle()
        connection.sendall(self.opening())
        connection.settimeout(0.05)
        push(connection)
        return connection

    def opening(self) -> bytes:
        return open_frame(self.order["to"], self.order["port"], self.order["sources"][0])

    def keep_on(self) -> None:
        """Drip, and replace what has been ended, as long as the flood lasts."""
        offset = 1
        while not self.ending.wait(1):
            if self.order["kind"] == "drip":
                for connection in self.held:
                    try:
                        connection.send(self.hello[offset : offset + 1])
                    except OSError:
                        continue
                offset += 1
            if self.order["kind"] == "greedy":
                for connection in self.held:
                    if self.ending.is_set():
                        return
                    push(connection)
            if self.order["kind"] in {"half", "drip"} and self.order.get("again"):
                gone = [connection for connection in self.held if ended(connection)]
                self.held = [connection for connection in self.held if connection not in set(gone)]
                self.order["count"] = len(gone)
                self.begin()


def push(connection: ssl.SSLSocket) -> None:
    """Say as much as is taken, in DATA frames."""
    # A TLS record that did not go out as a whole goes on with the next call, so the frames stay whole.
    with contextlib.suppress(OSError):
        while True:
            connection.send(frame(3, bytes(MOST)))


def ended(connection: socket.socket) -> bool:
    try:
        connection.setblocking(False)
        if isinstance(connection, ssl.SSLSocket):
            return connection.recv(1 << 16) == b""
        return connection.recv(1 << 16, socket.MSG_PEEK) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def main() -> None:
    flood = Flood(json.loads(sys.stdin.readline()))
    flood.begin()
    made = len(flood.held)
    print("ready", flush=True)
    keeper = threading.Thread(target=flood.keep_on)
    keeper.start()
    sys.stdin.read()
    flood.ending.set()
    keeper.join()
    # What was begun last has been taken by then, or ended.
    time.sleep(1)
    print(json.dumps({"made": made, "standing": sum(not ended(connection) for connection in flood.held)}), flush=True)


if __name__ == "__main__":
    main()
