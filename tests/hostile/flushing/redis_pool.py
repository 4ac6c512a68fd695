"""Connections to Redis, of which some are used all the time and the others only when told to.

    python redis_pool.py HOST IDLE BUSY

Each line on stdin uses the idle ones once. Prints a JSON object after each, and each second: `broken`, how many of the idle
and of the busy ones had to be made anew.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

PORT = 6379


class Connection:
    def __init__(self, host: str) -> None:
        self._address = (host, PORT)
        self.broken = 0
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._address, timeout=10)
        self._file = self._socket.makefile("rb")

    def ping(self) -> None:
        """Source: Redis serialization protocol specification, inline commands."""
        try:
            self._ping()
        except OSError:
            self.broken += 1
            self._connect()
            self._ping()

    def _ping(self) -> None:
        self._socket.sendall(b"PING\r\n")
        answer = self._file.readline()
        if answer != b"+PONG\r\n":
            raise OSError(f"not an answer: {answer!r}")


def main() -> None:
    host = sys.argv[1]
    idle, busy = ([Connection(host) for _ in range(int(count))] for count in sys.argv[2:4])
    for connection in (*idle, *busy):
        connection.ping()
    told = 0.0
    while True:
        if select.select([sys.stdin], [], [], 0.2)[0]:
            if not sys.stdin.readline():
                return
            for connection in idle:
                connection.ping()
            told = 0.0
        for connection in busy:
            connection.ping()
        if time.monotonic() - told > 1:
            told = time.monotonic()
            broken = {"idle": sum(each.broken for each in idle), "busy": sum(each.broken for each in busy)}
            print(json.dumps({"broken": broken}), flush=True)


if __name__ == "__main__":
    main()
