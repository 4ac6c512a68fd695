"""The program in the demo's pods: an ordinary client and server that knows nothing of gateways.

    python -m kube_gateway.demo.workload --name pod-01 --peer 10.89.0.3

It does what applications do and what enrolment must not disturb: it keeps one connection open for as long as it lasts
and says `Hello from NAME` on it, it makes a new connection for each small HTTP request, and it serves both to its
peer. Every request must be answered; a failure is counted, never retried in silence. A peer given by name is looked
up in the file of `--hosts` (like /etc/hosts) and waited for until it stands there.

A JSON object of `Statistics` is written every second: as a line to standard output, or as the whole content of a file.
Only the standard library is imported, and little of it: two pods start in a fraction of a second.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

_RETRY_SECONDS = 0.1
_TIMEOUT_SECONDS = 5.0
_MAX_HEAD = 8192
_BACKLOG = 64


@dataclass
class Statistics:
    """Counters since the start, and addresses.

    `seen_as` is our own address as the peer's server saw it, `client_address` the last client's as our server saw it.
    """

    name: str
    pid: int = field(default_factory=os.getpid)
    time: float = 0.0
    hello_sent: int = 0
    hello_received: int = 0
    reconnects: int = 0
    requests_ok: int = 0
    requests_failed: int = 0
    last_error: str = ""
    seen_as: str = ""
    client_address: str = ""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def count(self, counter: str) -> None:
        """Add one to a counter."""
        with self._lock:
            setattr(self, counter, getattr(self, counter) + 1)

    def line(self) -> str:
        """Return the statistics as one line of JSON."""
        with self._lock:
            self.time = time.time()
            return json.dumps(asdict(self)) + "\n"


class Workload:
    """All loops of one pod's program. Each runs in its own thread until the process ends."""

    def __init__(self, options: argparse.Namespace, *, statistics: Statistics) -> None:
        self._options = options
        self._statistics = statistics

    def start(self) -> None:
        """Listen, then start all loops. Raises `OSError` when an address or port cannot be had."""
        options = self._options
        hello = _listen(options.listen, options.hello_port)
        http = _listen(options.listen, options.http_port)
        loops: list[tuple[Callable[..., None], tuple[object, ...]]] = [
            (_accept, (hello, self._receive_hello)),
            (_accept, (http, self._answer)),
        ]
        if options.peer:
            loops += [(self._say_hello, ()), (self._request, ())]
        for loop, arguments in loops:
            threading.Thread(target=loop, args=arguments, daemon=True).start()

    def _say_hello(self) -> None:
        connected_before = False
        while True:
            try:
                with socket.create_connection((self._peer(), self._options.hello_port), _TIMEOUT_SECONDS) as connection:
                    if connected_before:
                        self._statistics.count("reconnects")
                    connected_before = True
                    self._hello_until_closed(connection)
            except OSError as error:
                if connected_before:
                    self._statistics.last_error = f"hello: {error}"
            time.sleep(_RETRY_SECONDS)

    def _hello_until_closed(self, connection: socket.socket) -> None:
        connection.settimeout(self._options.hello_seconds)
        while True:
            connection.sendall(f"Hello from {self._options.name}\n".encode())
            self._statistics.count("hello_sent")
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                continue

    def _receive_hello(self, connection: socket.socket, client: str) -> None:
        self._statistics.client_address = client
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"Hello from "):
                    self._statistics.count("hello_received")

    def _request(self) -> None:
        while True:
            address = self._peer()
            started = time.monotonic()
            try:
                answer = _get(address, self._options.http_port)
                self._statistics.seen_as = answer.rpartition(" to ")[2]
                self._statistics.count("requests_ok")
            except (OSError, ValueError) as error:
                self._statistics.last_error = f"request: {error}"
                self._statistics.count("requests_failed")
            time.sleep(max(0.0, self._options.request_seconds - (time.monotonic() - started)))

    def _answer(self, connection: socket.socket, client: str) -> None:
        self._statistics.client_address = client
        connection.settimeout(_TIMEOUT_SECONDS)
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(4096)
            if not data or len(head) > _MAX_HEAD:
                return
            head += data
        found = head.startswith(b"GET /hello ")
        body = f"Hello from {self._options.name} to {client}\n" if found else "only /hello is here\n"
        status = "200 OK" if found else "404 Not Found"
        connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n{body}".encode()
        )

    def _peer(self) -> str:
        """Return the peer's address; wait for it while the hosts file does not have its name."""
        peer: str = self._options.peer
        while self._options.hosts:
            address = _look_up(peer, self._options.hosts)
            if address:
                return address
            time.sleep(_RETRY_SECONDS)
        return peer


def _look_up(name: str, hosts: Path) -> str:
    try:
        lines = hosts.read_text().splitlines()
    except FileNotFoundError:
        return ""
    entries = (line.split() for line in lines)
    return next((entry[0] for entry in entries if name in entry[1:]), "")


def _listen(address: str, port: int) -> socket.socket:
    """Listen on `address`, or on all addresses of both families if it is empty and the machine has IPv6."""
    if not address and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=_BACKLOG)


def _accept(listener: socket.socket, serve: Callable[[socket.socket, str], None]) -> None:
    def run(connection: socket.socket, client: str) -> None:
        with connection:
            try:
                serve(connection, client)
            except OSError:
                return  # the client is gone or silent; it counts that itself

    while True:
        connection, address = listener.accept()
        client = address[0].removeprefix("::ffff:")
        threading.Thread(target=run, args=(connection, client), daemon=True).start()


def _get(address: str, port: int) -> str:
    """Return the body of http://address:port/hello. Raises `OSError`, and `ValueError` unless the answer is whole."""
    with socket.create_connection((address, port), _TIMEOUT_SECONDS) as connection:
        host = f"[{address}]" if ":" in address else address
        connection.sendall(f"GET /hello HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    expected = next((line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b"")
    if not head.startswith(b"HTTP/1.1 200 ") or not expected.strip().isdigit() or len(body) != int(expected):
        raise ValueError(f"not a whole answer: {answer[:60]!r}")
    return body.decode().strip()


def _report(statistics: Statistics, file: Path | None) -> None:
    line = statistics.line()
    if file is None:
        sys.stdout.write(line)
        sys.stdout.flush()
        return
    fresh = file.with_name(file.name + ".new")
    fresh.write_text(line)
    fresh.replace(file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(prog="workload", description="Talk to a peer, as applications do.")
    parser.add_argument("--name", required=True)
    parser.add_argument("--peer", default="", help="address, or with --hosts a name")
    parser.add_argument("--hosts", type=Path, help="file of lines 'ADDRESS NAME', read at each connection")
    parser.add_argument("--listen", default="", help="address to serve on (default: all)")
    parser.add_argument("--hello-port", type=int, default=9000)
    parser.add_argument("--http-port", type=int, default=9080)
    parser.add_argument("--hello-seconds", type=float, default=1.0, help="time between two lines of hello")
    parser.add_argument("--request-seconds", type=float, default=0.25, help="time between two requests")
    parser.add_argument("--stats", type=Path, help="file for the statistics (default: standard output)")
    parser.add_argument("--stats-seconds", type=float, default=1.0, help="time between two statistics")
    options = parser.parse_args(arguments)
    statistics = Statistics(options.name)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        Workload(options, statistics=statistics).start()
    except OSError as error:
        sys.stderr.write(f"error: cannot listen: {error.strerror or error}\n")
        return 1
    _report(statistics, options.stats)
    while not ended.wait(options.stats_seconds):
        _report(statistics, options.stats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
