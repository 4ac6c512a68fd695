"""The real data path in this process, between a client and a server of raw sockets that record what they see.

The gateway's own address is loopback, so connections go on in clear; nothing is redirected by hooks, but their maps are
the real ones.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from kube_gateway._native import Core, Hooks, LlmRequest

PATIENCE = 5.0
AT_ONCE = 0.25
"""Seconds. It takes a millisecond or two; this leaves room for a machine that does something else for a moment."""

ENDPOINTS = [
    ("POST", "/chat/completions"),
    ("POST", "/api/chat"),
    ("GET", "/models"),
    ("POST", "/api/blobs/[^/]+"),
    ("HEAD", "/api/blobs/[^/]+"),
]
BY_HEAD = [3, 4]

FRAMING_OF = {"text/event-stream": "sse", "application/json": "whole", "application/x-ndjson": "ndjson"}


class Peer:
    """A connected socket that says what it sees."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seen = b""

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.sock.sendall(data)

    def end(self) -> None:
        """Half-close."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close in order."""
        self.sock.close()

    def reset(self) -> None:
        """Close by a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.sock.close()

    def until(self, marker: bytes) -> bytes:
        """Read until the marker has come, and take what came with it from what is seen."""
        while marker not in self.seen:
            piece = self.sock.recv(65536)
            assert piece, f"the end came before {marker!r}, after {self.seen!r}"
            self.seen += piece
        at = self.seen.index(marker) + len(marker)
        taken, self.seen = self.seen[:at], self.seen[at:]
        return taken

    def exactly(self, count: int) -> bytes:
        """Read so many bytes."""
        while len(self.seen) < count:
            piece = self.sock.recv(65536)
            assert piece, f"the end came after {len(self.seen)} of {count} bytes: {self.seen[-200:]!r}"
            self.seen += piece
        taken, self.seen = self.seen[:count], self.seen[count:]
        return taken

    def rest(self) -> bytes:
        """Read to the end."""
        while piece := self.sock.recv(65536):
            self.seen += piece
        taken, self.seen = self.seen, b""
        return taken

    def nothing(self, seconds: float = 0.05) -> None:
        """Nothing comes for a while."""
        self.sock.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            piece = self.sock.recv(65536)
            raise AssertionError(f"came: {piece!r}")
        self.sock.settimeout(PATIENCE)

    def how_it_ends(self) -> str:
        """`end` or `reset`, whatever comes before."""
        try:
            while self.sock.recv(65536):
                pass
        except ConnectionResetError:
            return "reset"
        return "end"


class Upstream:
    """A server that hands over its connections."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._connections: queue.Queue[Peer] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._connections.put(Peer(self._listener.accept()[0]))

    def accept(self) -> Peer:
        """The next connection."""
        return self._connections.get(timeout=PATIENCE)

    def close(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Reply(msgspec.Struct):
    """An answer of the gateway."""

    status: int = 403
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b'{"error":"no"}'


class Response(msgspec.Struct):
    """What is done with an answer."""

    plan: Any
    framing_of: dict[str, str] = msgspec.field(default_factory=lambda: dict(FRAMING_OF))
    start: dict[str, Any] = {}
    edits: bool = True


class Decision:
    """What the engine is told, and what it tells in turn."""

    def __init__(
        self,
        *,
        reply: Reply | None = None,
        body: bytes | None = None,
        target: str | None = None,
        set_headers: list[tuple[str, str | None]] | None = None,
        response: Response | None = None,
    ) -> None:
        self.reply, self.body, self.target, self.response = reply, body, target, response
        self.set_headers = set_headers or []
        self.endings: queue.Queue[tuple[bytes, dict[str, Any]]] = queue.Queue()

    def ended(self, outcome: bytes, facts: dict[str, Any]) -> None:
        """Called once."""
        self.endings.put((outcome, facts))

    def refuse(self, outcome: bytes) -> Reply:
        """In place of a whole answer."""
        return Reply(status=451, body=b"refused " + outcome)

    def unreadable(self, why: str) -> Reply:
        """In place of an answer that never can be read."""
        return Reply(status=502, body=b"unreadable: " + why.encode())

    def ending(self, outcome: bytes) -> bytes:
        """The end of a stream."""
        return b"data: ended " + outcome + b"\n\n"

    def facts(self) -> dict[str, Any]:
        """What it was told at the end, exactly once."""
        _, facts = self.endings.get(timeout=PATIENCE)
        time.sleep(0.05)
        assert self.endings.empty(), "told twice"
        return facts


class Engine:
    """A policy whose decision a test gives."""

    def __init__(self, decide: Callable[[LlmRequest], Decision] | None = None, *, body_limit: int = 1 << 20) -> None:
        self.endpoints = ENDPOINTS
        self.by_head = BY_HEAD
        self.body_limit = body_limit
        self.requests: list[LlmRequest] = []
        self.decisions: list[Decision] = []
        self._decide = decide or (lambda _: Decision())

    def decide(self, request: LlmRequest) -> Decision:
        """Decide."""
        self.requests.append(request)
        decision = self._decide(request)
        self.decisions.append(decision)
        return decision

    def too_large(self, request: LlmRequest) -> Reply:
        """Answer a body that is too large."""
        self.requests.append(request)
        return Reply(status=413, body=b"too large")


class Filter:
    """Replaces a word, or ends at one; keeps what it has seen."""

    def __init__(self, *, framing: str, replace: tuple[bytes, bytes] | None = None, deny: bytes | None = None) -> None:
        self.framing, self._replace, self._deny = framing, replace, deny
        self.seen = b""
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Whole answers come out at the end."""
        self.seen += data
        if self._deny and self._deny in self.seen:
            self.ended = True
            return b""
        return b"" if self.framing == "whole" else self._changed(data)

    def finish(self) -> bytes:
        """The rest."""
        return self._changed(self.seen) if self.framing == "whole" else b""

    def _changed(self, data: bytes) -> bytes:
        return data.replace(*self._replace) if self._replace else data

    def outcome(self) -> bytes:
        """What was seen."""
        return b'{"seen":%d}' % len(self.seen)


class Plan:
    """Makes filters, and keeps them."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self.filters: list[Filter] = []

    def start(self, *, framing: str) -> Filter:
        """One for each answer."""
        self.filters.append(Filter(framing=framing, **self._options))
        return self.filters[-1]


class Rig:
    """One gateway."""

    def __init__(self, *, address: str = "127.0.0.1") -> None:
        self._hooks = Hooks()
        maps = {name: os.dup(descriptor) for name, descriptor in self._hooks.shared_maps().items()}
        self.core = Core(addresses=[address], maps=maps, threads=2)
        self.core.configure(mode="off", debug=bool(os.environ.get("RIG_DEBUG")))
        self._upstreams: list[Upstream] = []
        self._peers: list[Peer] = []

    def upstream(self) -> tuple[Upstream, tuple[str, int]]:
        """A server, and the address that leads to it through the gateway."""
        upstream = Upstream()
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        self.core.listen_for(upstream.address, listener.detach())
        self._upstreams.append(upstream)
        return upstream, address

    def connect(self, address: tuple[str, int]) -> Peer:
        """A client's connection."""
        peer = Peer(socket.create_connection(address, timeout=PATIENCE))
        self._peers.append(peer)
        return peer

    def pair(self, first: bytes = b"") -> tuple[Peer, Peer]:
        """Both ends of a connection through the gateway; the client has sent `first`."""
        upstream, address = self.upstream()
        client = self.connect(address)
        if first:
            client.send(first)
        server = upstream.accept()
        self._peers.append(server)
        return client, server

    def counters(self) -> dict[str, int]:
        """The gateway's."""
        counters: dict[str, int] = msgspec.json.decode(self.core.snapshot())["counters"]
        return counters

    def close(self) -> None:
        """Close what tests left open."""
        for peer in self._peers:
            peer.close()
        for upstream in self._upstreams:
            upstream.close()


@contextlib.contextmanager
def running() -> Iterator[Rig]:
    """A gateway for tests of one file."""
    rig = Rig()
    try:
        yield rig
    finally:
        rig.core.set_policy(None)
        rig.close()


def post(
    body: bytes, *headers: str, path: str = "/v1/chat/completions", content_type: str = "application/json"
) -> bytes:
    """A request with Content-Length."""
    lines = [f"POST {path} HTTP/1.1", "Host: server", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def ok(body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
    """An answer with Content-Length."""
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"
