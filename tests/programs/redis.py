"""Redis: small requests, pipelined, over connections that live long."""

from __future__ import annotations

import re

from programs.base import MARKER, Program, installed


class Redis(Program):
    def command(self):
        server = installed("redis-server", "redis-server")
        return [server, "--bind", "0.0.0.0", "::", "--protected-mode", "no", "--save", "", "--dir", str(self.directory)]

    def answers(self):
        return self.pods.exec("server", "redis-cli", "ping", check=False).stdout.strip() == "PONG"

    def use(self):
        cli = ("redis-cli", "-h", self.server)
        assert self.run(*cli, "SET", "key", MARKER).strip() == "OK"
        assert self.run(*cli, "GET", "key").strip() == MARKER
        clients = re.findall(r"\baddr=\[?([0-9a-f.:]+?)\]?:\d+ ", self.run(*cli, "CLIENT", "LIST"))
        assert clients == [self.client]

    def load(self):
        benchmark = installed("redis-benchmark", "redis-tools")
        clients = 20
        done = self.run(benchmark, "-h", self.server, "-q", "-n", "20000", "-c", str(clients), "-t", "set,get")
        assert len(re.findall(r"(?:SET|GET): [\d.]+ requests per second", done)) == 2, done
        return clients
