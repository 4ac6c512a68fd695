"""A server on loopback that answers every request with the same bytes, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kube_gateway.ai.dialect import Reply


class Replay:
    def __init__(self, server: ThreadingHTTPServer):
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.requests: list[tuple[str, str, dict]] = []

    def says(self, reply: Reply) -> Replay:
        self.reply = reply
        return self

    def streams(self, body: bytes, content_type: str) -> Replay:
        return self.says(Reply(status=200, headers=(("content-type", content_type),), body=body))


@pytest.fixture
def replay():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.replay = Replay(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.replay
    server.shutdown()
    thread.join()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def _answer(self):
        replay, body = self.server.replay, self.rfile.read(int(self.headers.get("content-length", 0)))
        replay.requests.append((self.command, self.path, json.loads(body) if body else {}))
        self.send_response(replay.reply.status)
        for name, value in replay.reply.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(replay.reply.body)))
        self.end_headers()
        self.wfile.write(replay.reply.body)
        self.wfile.flush()

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_):
        pass
