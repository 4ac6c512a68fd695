"""Figures over HTTP."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time

import pytest

from kube_gateway.gateway import figures_server
from kube_gateway.gateway.figures_server import FiguresServer


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = FiguresServer([os.dup(listener.fileno())], page=lambda: b"kube_x 1\n", content_type="text/plain")
        yield listener.getsockname()[1]
        server.close()


def ask(port, method="GET", path="/metrics"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers["content-type"]


def test_figures_are_served(port):
    assert ask(port) == (200, b"kube_x 1\n", "text/plain")
    assert ask(port, path="/metrics?x=1")[0] == 200
    assert ask(port, method="HEAD")[:2] == (200, b"")


def test_nothing_else_is(port):
    assert ask(port, path="/")[0] == 404
    assert ask(port, method="POST")[0] == 405


def test_one_that_says_nothing_keeps_nobody_waiting(port):
    with socket.create_connection(("127.0.0.1", port)):
        began = time.monotonic()
        assert ask(port)[0] == 200
        assert time.monotonic() - began < 2


def test_many_that_say_nothing_are_given_up(port, monkeypatch):
    monkeypatch.setattr(figures_server, "_WITHIN", 0.2)
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    assert ask(port)[0] == 200
    for connection in silent:
        connection.close()


def test_a_head_without_end_is_cut_off(port):
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /other" + b"x" * 20_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 404")


def test_closed_it_answers_nobody():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = FiguresServer([os.dup(listener.fileno())], page=lambda: b"", content_type="text/plain")
        server.close()
        for thread in threading.enumerate():
            if thread.name == "figures":
                thread.join(5)
    with pytest.raises(ConnectionRefusedError):
        ask(port)
