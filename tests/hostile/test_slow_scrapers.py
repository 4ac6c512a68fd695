"""Strangers at the port of the figures: slow ones, silent ones, and such as never read."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
import urllib.request

import pytest

from hostile.length import amount
from kube_gateway.gateway.figures_server import FiguresServer

CLAIM = "Whoever asks slowly for figures, or holds connections open, keeps nobody from getting them"
PAGE = b"figures " * 200_000


@pytest.fixture
def port():
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    number = listener.getsockname()[1]
    server = FiguresServer([listener.detach()], page=lambda: PAGE, content_type="text/plain")
    yield number
    server.close()


def scrape(port: int) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        assert answer.read() == PAGE
    return time.monotonic() - began


def hold(port: int, said: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(said)
    return connection


@pytest.mark.parametrize("said", [b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n\r\n", b"x" * 100_000])
def test_strangers_that_hold_on_keep_nobody_out(port, figures, said):
    held, ending, slowest = [], threading.Event(), 0.0

    def hold_on():
        while not ending.wait(0.005):
            with contextlib.suppress(OSError):
                held.append(hold(port, said))

    stranger = threading.Thread(target=hold_on)
    stranger.start()
    try:
        time.sleep(0.3)
        end = time.monotonic() + amount(full=5.0, short=1.0)
        while time.monotonic() < end:
            # One that waits its turn may be the oldest by then, and asks again, as whoever scrapes does.
            for _ in range(20):
                with contextlib.suppress(OSError, http.client.HTTPException):
                    slowest = max(slowest, scrape(port))
                    break
            else:
                raise AssertionError("twenty in a row got no figures")
    finally:
        ending.set()
        stranger.join()
        for connection in held:
            connection.close()
    assert slowest < 3.0
    figures(CLAIM, connections_held=len(held), slowest_scrape_ms=slowest * 1000)


def test_a_byte_now_and_then_does_not_last(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        began = time.monotonic()
        with contextlib.suppress(OSError):
            for _ in range(100):
                connection.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 8.0
