"""nginx: many requests over one connection, and large bodies both ways."""

from __future__ import annotations

import hashlib
import time

from programs.base import MARKER, Program, installed

REQUESTS = 500
SIZE = 50 << 20
CONFIGURATION = """
user root;
worker_processes 2;
daemon off;
pid {directory}/pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    log_format reached '$remote_addr $connection $connection_requests $request_method $status';
    access_log {directory}/access.log reached;
    client_body_temp_path {directory}/body;
    client_max_body_size 0;
    keepalive_requests 10000;
    server {{
        listen 80;
        listen [::]:80;
        root {directory}/files;
        location /upload/ {{ dav_methods PUT; }}
    }}
}}
"""


class Nginx(Program):
    def command(self):
        files, uploads = self.directory / "files", self.directory / "files" / "upload"
        uploads.mkdir(parents=True)
        (files / "page").write_text(MARKER)
        # Not all alike, so that a lost, doubled or misplaced piece is noticed.
        block = b"".join(hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(SIZE // 32))
        self.large = files / "large"
        self.large.write_bytes(block)
        self.digest = hashlib.sha256(block).hexdigest()
        configuration = self.directory / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(directory=self.directory))
        return [installed("nginx", "nginx-light"), "-c", str(configuration), "-p", str(self.directory)]

    def answers(self):
        curl = installed("curl", "curl")
        return self.pods.exec("server", curl, "-sf", "http://127.0.0.1/page", check=False).returncode == 0

    def use(self):
        self._log.write_text("")
        # One curl uses one connection for all URLs.
        pages = self._curl(f"{self._url}/page?[1-{REQUESTS}]")
        assert pages == MARKER * REQUESTS
        entries = self._log_entries(REQUESTS)
        assert len({connection for _, connection, *_ in entries}) == 1
        assert [entry[0] for entry in entries] == [self.client] * REQUESTS
        assert [int(entry[2]) for entry in entries] == list(range(1, REQUESTS + 1))

        sent = self._curl("-H", f"X-Marker: {MARKER}", "-T", str(self.large), f"{self._url}/upload/large", "-w", "sent")
        assert sent == "sent"
        uploaded = self.directory / "files" / "upload" / "large"
        assert hashlib.sha256(uploaded.read_bytes()).hexdigest() == self.digest
        uploaded.unlink()

        downloaded = self.directory / "downloaded"
        self._curl("-o", str(downloaded), f"{self._url}/large")
        assert hashlib.sha256(downloaded.read_bytes()).hexdigest() == self.digest
        downloaded.unlink()

    def load(self):
        # Each URL is a connection of its own, many at once.
        urls = [f"{self._url}/page?{number}" for number in range(200)]
        pages = self._curl("--parallel", "--parallel-immediate", "--no-keepalive", "-H", "Connection: close", *urls)
        assert pages == MARKER * len(urls)
        return len(urls)

    def _curl(self, *arguments: str) -> str:
        return self.run(installed("curl", "curl"), "-sSf", "--http1.1", "--max-time", "50", *arguments)

    def _log_entries(self, count: int) -> list[list[str]]:
        """The log's entries; nginx writes one after it has sent the answer."""
        deadline = time.monotonic() + 5
        while len(lines := self._log.read_text().splitlines()) < count:
            assert time.monotonic() < deadline, f"the log has {len(lines)} entries, not {count}"
            time.sleep(0.02)
        return [line.split() for line in lines]

    @property
    def _log(self):
        return self.directory / "access.log"

    @property
    def _url(self):
        return f"http://{f'[{self.server}]' if ':' in self.server else self.server}"
