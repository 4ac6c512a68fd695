"""Holds the hooks of a pod as its gateway does, and does with them what it is told, one JSON object a line.

Run in the pod's network and in the cgroup of its gateway. Each line has `do`; the answer is a line too.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading

from kube_gateway import _native


class Keeper:
    """What is held until the process ends."""

    def __init__(self) -> None:
        self._hooks = _native.Hooks()
        self._held: list[socket.socket] = []

    def configure(self, **settings) -> None:
        for name in ("rules", "exempt"):
            settings[name] = [tuple(each) for each in settings.get(name, ())]
        self._hooks.configure(**settings)

    def attach(self, cgroup: str) -> None:
        self._hooks.attach(cgroup)

    def guard(self) -> None:
        self._hooks.guard()

    def unguard(self) -> None:
        self._hooks.unguard()

    def counters(self) -> dict[str, int]:
        return self._hooks.counters()

    def refused(self) -> list:
        return self._hooks.refused()

    def sent(self) -> dict:
        return json.loads(self._hooks.sent())

    def echo(self, port: int) -> None:
        """Echo on a port, as a listener of the gateway."""
        listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        self._held.append(listener)

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(connection.recv(65536))

        threading.Thread(target=serve, daemon=True).start()

    def redirect(self) -> None:
        """A listener that the connect hooks find, and a sign of life."""
        listener = socket.create_server(("127.0.0.1", 18000))
        self._hooks.mark_listener(listener.fileno())
        self._held.append(listener)
        maps = {name: os.dup(number) for name, number in self._hooks.shared_maps().items()}
        self._core = _native.Core(addresses=["127.0.0.1"], maps=maps, threads=1)

    def send(self, address: str, port: int, text: str) -> str:
        """Connect, as the gateway, and say something; the answer, or the error."""
        try:
            with socket.create_connection((address, port), timeout=2) as connection:
                connection.sendall(text.encode())
                return connection.recv(65536).decode()
        except OSError as error:
            return type(error).__name__

    def datagram(self, address: str, port: int, text: str) -> str:
        """Send one, as the gateway."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            try:
                sender.sendto(text.encode(), (address, port))
            except OSError as error:
                return type(error).__name__
            return "sent"


def main() -> None:
    keeper = Keeper()
    for line in sys.stdin:
        order = json.loads(line)
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(getattr(keeper, order.pop("do"))(**order)), flush=True)


if __name__ == "__main__":
    main()
