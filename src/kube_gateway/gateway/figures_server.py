"""Serves figures over HTTP to whoever reaches the port: GET /metrics, and nothing else.

A web server would be many times as long, and would be loaded by each gateway with AI control. The port is open to
strangers: an answer takes milliseconds, so of more than eight connections at once the oldest is ended, and none has more
than five seconds, however it spends them.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("worker")

_LONGEST_HEAD = 8 * 1024
_WITHIN = 5.0
_AT_ONCE = 8
_LOOK_EVERY = 0.5


class FiguresServer:
    """Answers on `listeners`, whose descriptors are its own, with what `page` returns, until closed."""

    def __init__(self, listeners: list[int], *, page: Callable[[], bytes], content_type: str) -> None:
        self._page = page
        self._content_type = content_type
        self._closed = threading.Event()
        self._open: dict[socket.socket, None] = {}
        self._lock = threading.Lock()
        for descriptor in listeners:
            listener = socket.socket(fileno=descriptor)
            listener.settimeout(_LOOK_EVERY)
            threading.Thread(target=self._accept, args=(listener,), daemon=True, name="figures").start()

    def close(self) -> None:
        """Stop accepting, within half a second."""
        self._closed.set()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while not self._closed.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                except OSError as error:
                    _log.warning("cannot accept a connection for figures: %s", error)
                    self._closed.wait(_LOOK_EVERY)
                    continue
                self._make_room()
                with self._lock:
                    self._open[connection] = None
                threading.Thread(target=self._serve, args=(connection,), daemon=True, name="figures").start()

    def _make_room(self) -> None:
        with self._lock:
            while len(self._open) >= _AT_ONCE:
                oldest = next(iter(self._open))
                del self._open[oldest]
                # Wakes whoever serves it; it may have ended just now.
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        end = time.monotonic() + _WITHIN
        try:
            with contextlib.suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
                    connection.settimeout(max(end - time.monotonic(), 0.001))
                    piece = connection.recv(_LONGEST_HEAD)
                    if not piece:
                        return
                    head += piece
                connection.settimeout(max(end - time.monotonic(), 0.001))
                connection.sendall(self._answer(head))
        finally:
            # Together, so that nobody ends another connection that has got its number.
            with self._lock:
                self._open.pop(connection, None)
                connection.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in {b"GET", b"HEAD"}:
            return _response("405 Method Not Allowed", b"GET /metrics\n", "text/plain")
        if path != b"/metrics":
            return _response("404 Not Found", b"GET /metrics\n", "text/plain")
        answer = _response("200 OK", self._page(), self._content_type)
        return answer if method == b"GET" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _response(status: str, body: bytes, content_type: str) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
