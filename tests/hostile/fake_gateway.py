"""Whoever stands where a peer's gateway should: answers on port 18443 as told on stdin, and prints what it heard.

Run in a pod's network as `python fake_gateway.py`. The first line of stdin is JSON: `address`, and `kind`:

- `nobody`: the port is closed
- `drop`: no packet is answered
- `silent`: connections are taken and nothing is said
- `close`: they are taken and reset
- `bytes`: what is in `bytes`, hexadecimal, is said at once
- `tls`: TLS with `chain` and `key`, then whatever comes is kept

It ends with stdin, and then prints as JSON how many connections came and how many bytes came inside TLS.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import socket
import ssl
import struct
import sys
import tempfile
import threading

_SO_ATTACH_FILTER = 26
_LINGER_RESET = struct.pack("ii", 1, 0)


class Fake:
    def __init__(self, order: dict[str, str]) -> None:
        self.order = order
        self.connections = 0
        self.heard = b""
        self.held: list[socket.socket] = []
        self.tls = context(order) if order["kind"] == "tls" else None

    def listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.order["address"] else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.order["address"], 18443))
        if self.order["kind"] == "drop":
            # A filter of one instruction that lets nothing through: no SYN is ever answered.
            self.program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
            program = struct.pack("HL", 1, ctypes.addressof(self.program))
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
        listener.listen(128)
        return listener

    def serve(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            self.connections += 1
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        self.held.append(connection)
        with contextlib.suppress(OSError):
            match self.order["kind"]:
                case "close":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
                    connection.close()
                case "bytes":
                    connection.sendall(bytes.fromhex(self.order["bytes"]))
                    while connection.recv(65536):
                        pass
                case "tls":
                    assert self.tls is not None
                    secured = self.tls.wrap_socket(connection, server_side=True)
                    while piece := secured.recv(65536):
                        self.heard += piece


def context(order: dict[str, str]) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(["kube-gateway/1"])
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(order["key"] + order["chain"])
        file.flush()
        made.load_cert_chain(file.name)
    return made


def main() -> None:
    fake = Fake(json.loads(sys.stdin.readline()))
    if fake.order["kind"] != "nobody":
        threading.Thread(target=fake.serve, args=(fake.listen(),), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    print(json.dumps({"connections": fake.connections, "heard": len(fake.heard)}), flush=True)


if __name__ == "__main__":
    main()
