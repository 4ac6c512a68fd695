"""A hostile peer: speaks TLS and frames to a gateway's port as told on stdin, and prints what came back, as JSON.

Run inside a pod's network as `python attacker.py`; stdin is JSON with `to` (address), `chain` and `key` (PEM, or null),
`send` (a list of hexadecimal strings), `alpn`, `tls` (false: no TLS at all), `hold` (seconds of silence after which no
answer is waited for), `expect` (after so many bytes of answer no more is waited for), `waits` (say `accepted` after the
handshake, and go on with the next line of stdin).
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import tempfile


def main() -> None:
    order = json.loads(sys.stdin.readline())
    answer = {"handshake": False, "received": "", "error": None}
    try:
        raw = socket.create_connection((order["to"], order.get("port", 18443)), timeout=10)
        connection = wrapped(raw, order) if order.get("tls", True) else raw
        connection.settimeout(order.get("hold", 0.5))
        answer["handshake"] = True
        if order.get("waits"):
            print("accepted", flush=True)
            sys.stdin.readline()
        for piece in order.get("send", []):
            connection.sendall(bytes.fromhex(piece))
        answer["received"] = receive(connection, answer, order.get("expect")).hex()
    except OSError as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(answer))


def wrapped(raw: socket.socket, order: dict) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if order.get("alpn", "kube-gateway/1"):
        context.set_alpn_protocols([order.get("alpn", "kube-gateway/1")])
    if order.get("chain"):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(order["key"] + order["chain"])
            file.flush()
            context.load_cert_chain(file.name)
    return context.wrap_socket(raw)


def receive(connection: socket.socket, answer: dict, expect: int | None) -> bytes:
    """What comes until the other side closes, says nothing for a while, or has said as much as is expected."""
    received = b""
    answer["error"] = "closed"
    try:
        while piece := connection.recv(65536):
            received += piece
            if expect is not None and len(received) >= expect:
                answer["error"] = "answered"
                break
    except TimeoutError:
        answer["error"] = "open"
    return received


if __name__ == "__main__":
    main()
