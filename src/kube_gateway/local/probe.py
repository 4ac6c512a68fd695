"""The two ends of `verify`: one says a secret, the other answers with its hash.

Both run inside pods for a moment, as ordinary programs. The secret comes in by standard input, never as an argument,
which every process of the machine could read; it leaves by the network only. Only the standard library is imported.

    python -m kube_gateway.local.probe listen ADDRESS     prints the port, later what has come
    python -m kube_gateway.local.probe send               reads `ADDRESS PORT SECRET`, prints the answer
"""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Sequence

SECRET_LENGTH = 32
"""Characters of the secret: hexadecimal digits."""

ANSWER_LENGTH = 64
"""Characters of the answer: the secret's SHA-256 in hexadecimal digits."""

_TIMEOUT_SECONDS = 5.0


def answer_to(secret: str) -> str:
    """Return what the listening end answers to `secret`."""
    return hashlib.sha256(secret.encode()).hexdigest()


def listen(address: str) -> None:
    """Take one connection on a free port of `address`, read a secret and answer it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        server.settimeout(2 * _TIMEOUT_SECONDS)
        _say(str(server.getsockname()[1]))
        connection, client = server.accept()
    with connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        secret = _read(connection, SECRET_LENGTH)
        connection.sendall(answer_to(secret).encode())
        _say(f"{client[0]} {secret}")


def send(request: str) -> None:
    """Send the secret of `ADDRESS PORT SECRET` and print the answer."""
    address, port, secret = request.split()
    with socket.create_connection((address, int(port)), _TIMEOUT_SECONDS) as connection:
        connection.sendall(secret.encode())
        _say(_read(connection, ANSWER_LENGTH))


def main(arguments: Sequence[str]) -> int:
    """Run one end; return the exit status."""
    try:
        match arguments:
            case ["listen", address]:
                listen(address)
            case ["send"]:
                send(sys.stdin.readline())
            case _:
                sys.stderr.write("usage: probe listen ADDRESS | probe send\n")
                return 2
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    return 0


def _read(connection: socket.socket, length: int) -> str:
    received = b""
    while len(received) < length:
        data = connection.recv(length - len(received))
        if not data:
            raise ConnectionError(f"the connection ended after {len(received)} of {length} bytes")
        received += data
    return received.decode("ascii", "replace")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
