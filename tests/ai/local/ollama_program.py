"""A small server with Ollama's API, run as a pod's application: `python ollama_program.py PORT`.

It prints `ready`, and then a line of JSON for each request: the connection's number, path, model and prompt. The answer
repeats the prompt word by word; a prompt that begins with `slow N` waits N seconds before each word.
"""

from __future__ import annotations

import itertools
import json
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler

_numbers = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.number = next(_numbers)

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._json({"version": "0.0.0"})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = asked["messages"][-1]["content"]
        told = {"connection": self.number, "path": self.path, "model": asked["model"], "prompt": prompt}
        print(json.dumps(told), flush=True)
        words = prompt.split(" ")
        pause = float(words[1]) if words[0] == "slow" else 0.0
        end = {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": len(words)}
        if asked.get("stream") is False:
            self._json({"model": asked["model"], "message": {"role": "assistant", "content": prompt}, **end})
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in words:
            time.sleep(pause)
            message = {"role": "assistant", "content": f"{word} "}
            self._chunk({"model": asked["model"], "message": message, "done": False})
        self._chunk({"model": asked["model"], "message": {"role": "assistant", "content": ""}, **end})
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, event):
        line = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def _json(self, body):
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    server = Server(("0.0.0.0", int(sys.argv[1])), Handler)
    print("ready", flush=True)
    server.serve_forever()
