"""A web page to chat with a model: an ordinary application that knows nothing of gateways.

    python3 server.py --ollama http://ollama:11434 --port 8080

It serves the page beside it and passes what is asked on to Ollama, on a new connection each time, and what is answered
back to the browser piece by piece. Only the standard library is used.

The browser posts `{"model": ..., "messages": [...]}` to /chat and gets lines of JSON: `{"text": ...}` as often as there is
some, then `{"done": ..., "model": ..., "tokens": ...}`, or `{"refused": ..., "status": ...}` at any point.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import sys
import urllib.parse
from collections.abc import Generator, Iterator
from contextlib import closing
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/chat.js": ("chat.js", "text/javascript; charset=utf-8"),
}
_HERE = Path(__file__).resolve().parent
_MOST = 1 << 20
# Models may think for a while.
_TIMEOUT = 600.0
_LIST_TIMEOUT = 5.0


class Ollama:
    """The server with the models, at an address like http://ollama:11434."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url!r} is not an address like http://ollama:11434")
        self.host, self.port = parts.hostname, parts.port or 80

    def models(self) -> list[str]:
        """Names of the models there are. Raises `OSError` or `ValueError`."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_LIST_TIMEOUT)
        try:
            connection.request("GET", "/api/tags")
            return sorted(model["name"] for model in json.load(connection.getresponse())["models"])
        except (http.client.HTTPException, KeyError) as error:
            raise ValueError(f"no list of models: {error}") from error
        finally:
            connection.close()

    def chat(self, question: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Ask, and yield what the browser is told. Closing this iterator ends the connection, and with it the answer."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT)
        try:
            body = json.dumps({"model": question["model"], "messages": question["messages"], "stream": True})
            connection.request("POST", "/api/chat", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != HTTPStatus.OK:
                yield {"refused": _reason(response.read(_MOST)), "status": response.status}
                return
            yield from _told(response)
        except (OSError, http.client.HTTPException) as error:
            yield {"refused": f"{self.host} does not answer: {error}", "status": 0}
        finally:
            connection.close()


def _told(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Each line of the answer, as the browser is told it."""
    for line in response:
        value = json.loads(line)
        if "error" in value:
            yield {"refused": value["error"], "status": response.status}
            return
        if text := value["message"]["content"]:
            yield {"text": text}
        if value["done"]:
            yield {
                "done": value.get("done_reason", "stop"),
                "model": value["model"],
                "tokens": value.get("eval_count", 0),
            }


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or "no reason given"


class Handler(BaseHTTPRequestHandler):
    """One request of a browser."""

    protocol_version = "HTTP/1.1"
    ollama: Ollama

    def do_GET(self) -> None:
        """The page and its parts, and the names of the models."""
        path = self.path.partition("?")[0]
        if path == "/models":
            self._models()
        elif path in FILES:
            name, kind = FILES[path]
            self._send(HTTPStatus.OK, (_HERE / name).read_bytes(), kind)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"there is no such page\n", "text/plain")

    def do_POST(self) -> None:
        """A question."""
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/chat" or not 0 < length <= _MOST:
            self.close_connection = True
            self._send(HTTPStatus.BAD_REQUEST, b"this is no question\n", "text/plain")
            return
        try:
            question = json.loads(self.rfile.read(length))
            answer = self.ollama.chat({"model": str(question["model"]), "messages": list(question["messages"])})
        except (ValueError, KeyError, TypeError) as error:
            self._send(HTTPStatus.BAD_REQUEST, f"this is no question: {error}\n".encode(), "text/plain")
            return
        self._stream(answer)

    def _models(self) -> None:
        try:
            found: dict[str, Any] = {"models": self.ollama.models()}
        except (OSError, ValueError) as error:
            found = {"models": [], "problem": f"{self.ollama.host} does not answer: {error}"}
        self._send(HTTPStatus.OK, json.dumps(found).encode(), "application/json")

    def _stream(self, answer: Generator[dict[str, Any], None, None]) -> None:
        self._head(HTTPStatus.OK, "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with closing(answer):
            try:
                for value in answer:
                    line = json.dumps(value).encode() + b"\n"
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                self.close_connection = True  # the browser has left

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self._head(status, kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", "default-src 'self'; img-src data:; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")


class Server(ThreadingHTTPServer):
    """A thread for each browser, on all addresses."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    daemon_threads = True

    def __init__(self, port: int, ollama: Ollama) -> None:
        handler = type("BoundHandler", (Handler,), {"ollama": ollama})
        super().__init__(("", port), handler)

    def server_bind(self) -> None:
        """Let a socket of IPv6 take IPv4 too."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def main() -> int:
    """Serve until the process is ended; return the exit status."""
    parser = argparse.ArgumentParser(description="A web page to chat with a model.")
    parser.add_argument("--ollama", default="http://ollama:11434", metavar="URL")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    try:
        server = Server(options.port, Ollama(options.ollama))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    print(f"a page to chat with {options.ollama} is on port {options.port}", flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
