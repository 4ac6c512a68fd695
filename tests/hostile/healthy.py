"""An honest connection's view of a gateway under attack, as told on stdin; run as `python healthy.py`.

Stdin is JSON: `to`, `port`, `seconds`, and perhaps `chain`, `key` and `source`: then each round makes a tunnel of its own,
handshake and OPEN and the echo. Without, the rounds are echoes on one standing connection (which a gateway carries), and
every tenth is a new connection. It prints the milliseconds of each as JSON, with what failed.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time

from hostile.peer import context, frame, open_frame

WITHIN = 20.0


def echo(connection: socket.socket, marker: bytes) -> None:
    connection.sendall(marker)
    got = b""
    while marker not in got:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError("ended")
        got += piece


def tunnel(order: dict, tls: ssl.SSLContext, number: int) -> None:
    with tls.wrap_socket(
        socket.create_connection((order["to"], 18443), timeout=WITHIN, source_address=(order["source"], 0))
    ) as connection:
        marker = b"marker %d" % number
        connection.sendall(open_frame(order["to"], order["port"], order["source"]) + frame(3, marker))
        got = b""
        while marker not in got:
            piece = connection.recv(65536)
            if not piece:
                raise ConnectionError("ended")
            got += piece


def main() -> None:
    order = json.load(sys.stdin)
    took: dict[str, list[float]] = {"echo": [], "connect": [], "tunnel": []}
    failed: list[str] = []

    def timed(kind: str, do, *arguments) -> None:
        began = time.monotonic()
        try:
            do(*arguments)
        except OSError as error:
            failed.append(f"{kind}: {error}")
        else:
            took[kind].append((time.monotonic() - began) * 1000)

    def connect(number: int) -> None:
        with socket.create_connection((order["to"], order["port"]), timeout=WITHIN) as connection:
            echo(connection, b"new %d" % number)

    tls = context(order) if order.get("chain") else None
    standing = None if tls else socket.create_connection((order["to"], order["port"]), timeout=WITHIN)
    end = time.monotonic() + order["seconds"]
    number = 0
    while time.monotonic() < end:
        number += 1
        if tls is not None:
            timed("tunnel", tunnel, order, tls, number)
        else:
            timed("echo", echo, standing, b"standing %d" % number)
            if number % 10 == 0:
                timed("connect", connect, number)
        time.sleep(0.01)
    print(json.dumps({"took": took, "failed": failed}))


if __name__ == "__main__":
    main()
