"""The chat page's server: what a browser is told when Ollama refuses, is not there, or is left in the middle."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import contextmanager

import pytest

from demo.ai.chat.server import Ollama, Server

QUESTION = json.dumps({"model": "tiny:1b", "messages": [{"role": "user", "content": "What?"}]})


@contextmanager
def serving(upstream: str):
    """A chat server in front of an upstream; the value asks it something."""
    server = Server(0, Ollama(upstream))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def ask(port: int, path: str = "/chat", body: str | None = QUESTION) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST" if body else "GET", path, body)
    return connection.getresponse()


class Upstream:
    """A listener that answers one request with given bytes and tells when the connection was closed."""

    def __init__(self, answer: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.closed = threading.Event()
        self.asked = b""
        threading.Thread(target=self._serve, args=(answer,), daemon=True).start()

    def _serve(self, answer: bytes) -> None:
        connection, _ = self._listener.accept()
        self._listener.close()
        with connection:
            while b"messages" not in self.asked:
                self.asked += connection.recv(65536)
            try:
                connection.sendall(answer)
                while connection.recv(65536):
                    pass
            except OSError:
                pass
        self.closed.set()


def answer(body: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {length or len(body)}\r\n\r\n".encode() + body


def lines(response: http.client.HTTPResponse) -> list[dict]:
    return [json.loads(line) for line in response.read().splitlines()]


def test_an_answer_is_passed_on_in_its_pieces():
    said = [{"model": "m", "message": {"content": piece}, "done": False} for piece in ("Grüße ", "<b>")]
    done = {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 3}
    upstream = Upstream(answer(b"".join(json.dumps(value).encode() + b"\n" for value in [*said, done])))
    with serving(upstream.url) as port:
        told = lines(ask(port))
    assert told == [{"text": "Grüße "}, {"text": "<b>"}, {"done": "stop", "model": "m", "tokens": 3}]
    assert b'"stream": true' in upstream.asked


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"error": "kube-gateway says no"}', "403 Forbidden", {"refused": "kube-gateway says no", "status": 403}),
        (b"bad gateway", "502 Bad Gateway", {"refused": "bad gateway", "status": 502}),
        (b'{"error": "the runner died"}\n', "200 OK", {"refused": "the runner died", "status": 200}),
    ],
)
def test_a_refusal_is_told_with_its_reason(body, status, told):
    upstream = Upstream(answer(body, status=status))
    with serving(upstream.url) as port:
        assert lines(ask(port)) == [told]


def test_an_upstream_that_is_not_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    with serving(f"http://127.0.0.1:{free}") as port:
        [told] = lines(ask(port))
        assert told["status"] == 0
        assert "does not answer" in told["refused"]
        assert "does not answer" in json.load(ask(port, "/models", None))["problem"]


def test_a_browser_that_leaves_ends_the_question():
    line = json.dumps({"model": "m", "message": {"content": "more " * 2000}, "done": False}).encode() + b"\n"
    upstream = Upstream(answer(line * 2000, length=1 << 30))
    with serving(upstream.url) as port:
        response = ask(port)
        response.read(100)
        response.close()
        assert upstream.closed.wait(5)


@pytest.mark.parametrize("body", ["no JSON", "[]", '{"model": "m"}', '{"model": "m", "messages": 1}'])
def test_what_is_no_question_is_refused(body):
    with serving("http://127.0.0.1:9") as port:
        assert ask(port, "/chat", body).status == 400


def test_a_question_that_is_too_long_is_refused_before_it_is_read():
    with serving("http://127.0.0.1:9") as port, socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"POST /chat HTTP/1.1\r\nHost: chat\r\nContent-Length: 9999999\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_only_the_page_is_served():
    with serving("http://127.0.0.1:9") as port:
        page = ask(port, "/", None)
        assert page.status == 200
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        assert ask(port, "/server.py", None).status == 404
        assert ask(port, "/../server.py", None).status == 404


@pytest.mark.parametrize("url", ["ollama:11434", "https://ollama", "http://"])
def test_an_address_that_is_none_is_an_error(url):
    with pytest.raises(ValueError, match="is not an address"):
        Ollama(url)
