"""Connections to a Service, and what came of them."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path

from datapath import scripts
from kube_gateway.local.services import LocalService

PORT = 9000
SERVICE_PORT = 80
ADDRESS = "10.89.200.1"
ADDRESS6 = "fd89:200::1"

# Connects again and again, says the marker at once, wants it back; prints what both ends saw of each other.
VISIT = """
import errno, json, socket, sys, time
address, port, times, timeout, marker = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
visits = []
for _ in range(times):
    began = time.monotonic()
    try:
        with socket.create_connection((address, port), timeout=timeout) as s:
            s.sendall(marker.encode() + b"\\n")
            reader = s.makefile("rb")
            server = json.loads(reader.readline())
            echo = reader.readline().decode().strip()
            visit = {"backend": server["own"][0], "client": server["accept"][0], "peer": s.getpeername()[:2], "echo": echo}
    except OSError as error:
        visit = {"error": errno.errorcode.get(error.errno, type(error).__name__)}
    visits.append(visit | {"seconds": time.monotonic() - began})
print(json.dumps(visits))
"""


class Shop:
    """Pods that serve behind a Service, and one that visits them."""

    def __init__(self, pods) -> None:
        self.pods = pods

    def pod(self, name, **settings):
        """Start a pod that serves."""
        self.pods.run(name, sys.executable, "-u", "-c", scripts.server(PORT), **settings)
        self.pods.wait_log(name, "ready", container="app")
        if settings:
            self.pods.client.wait_settled(name, timeout=20)

    def idle(self, name, **settings):
        """Start a pod that does not serve."""
        self.pods.run(name, "sleep", "1000", **settings)
        self.pods.client.wait_settled(name, timeout=20)

    def service(self, *names, address=ADDRESS, affinity=0, name="shop"):
        """Make the Service, or change it."""
        to = tuple((pod, PORT) for pod in names)
        self.pods.client.set_service(
            LocalService(name=name, address=address, port=SERVICE_PORT, to=to, affinity_seconds=affinity)
        )

    def let_it_be_known(self, *names, every=True, timeout=20.0):
        """Visit until the pods `names` answer, each of them (or only some, without `every`), and nobody else; without names
        until nobody does. A change of a Service is told to gateways right after it was answered, and nobody says when they
        have it."""
        deadline = time.monotonic() + timeout
        wanted = set(names) or {""}
        while True:
            known = self._by_address()
            visits = self.visit(4 * len(names) or 1, timeout=2)
            seen = {"" if visit.error else known.get(visit.backend, visit.backend) for visit in visits}
            if seen == wanted or (seen < wanted and not every):
                return
            assert time.monotonic() < deadline, f"{seen} answer, not {wanted}"
            time.sleep(0.1)

    def visit(self, times=1, *, source="client", address=ADDRESS, port=SERVICE_PORT, marker="hello", timeout=20.0):
        """Connect so many times."""
        line = [sys.executable, "-c", VISIT, address, str(port), str(times), str(timeout), marker]
        return [Visit(visit) for visit in json.loads(self.pods.exec(source, *line, timeout=120).stdout)]

    def backends(self, visits) -> Counter[str]:
        """How many visits each pod got. A visit that failed is an error."""
        assert [visit.error for visit in visits if visit.error] == []
        names = self._by_address()
        return Counter(names[visit.backend] for visit in visits)

    def _by_address(self) -> dict[str, str]:
        return {self.pods.address(name, family): name for name in self._names() for family in (0, 1)}

    def _names(self):
        return [path.name for path in Path(self.pods.instance.directory, "pods").iterdir()]


class Visit:
    """One connection: `error` is empty when it got through, and the names are as the two ends saw them."""

    def __init__(self, facts) -> None:
        self.error = facts.get("error", "")
        self.seconds = facts["seconds"]
        self.backend = facts.get("backend", "").removeprefix("::ffff:")
        self.client = facts.get("client", "").removeprefix("::ffff:")
        self.peer = tuple(facts.get("peer", ()))
        self.echo = facts.get("echo", "")
