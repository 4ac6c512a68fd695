"""What the tests need of a program: a server, and a client that notices every difference between clear and enrolled."""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from pathlib import Path

from pods import Pods

READY_WITHIN = 30.0
MARKER = "marker-7c1f4e9a52"


def installed(program: str, package: str, *, path: str | None = None) -> str:
    """The path of a program. A machine without it fails the test: what is not run proves nothing."""
    found = shutil.which(program, path=path)
    assert found, f"{program} is not installed: apt-get install {package}"
    return found


class Program(ABC):
    """A server in the pod `server` and its client in the pod `client`. `directory` is the program's own."""

    #: What is readable on the wire while the connection is in clear.
    readable = MARKER.encode()

    def __init__(self, pods: Pods, directory: Path, *, ipv6: bool = False) -> None:
        self.pods = pods
        self.directory = directory
        self._family = int(ipv6)

    @abstractmethod
    def command(self) -> list[str]:
        """Prepare what the server needs and return its command line. Its address is not known yet."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server is ready, asked from inside its own pod."""

    @abstractmethod
    def use(self) -> None:
        """Carry `readable` both ways, check every answer, and that the server is told the client's true address."""

    @abstractmethod
    def load(self) -> int:
        """Open many connections at once, and return how many at least."""

    @property
    def server(self) -> str:
        """The server's address."""
        return self.pods.pod("server").addresses[self._family]

    @property
    def client(self) -> str:
        """The client's address."""
        return self.pods.pod("client").addresses[self._family]

    def start(self) -> None:
        """Start both pods and wait for the server."""
        self.pods.run("server", *self.command())
        self.pods.run("client", "sleep", "infinity")
        deadline = time.monotonic() + READY_WITHIN
        while not self.answers():
            assert time.monotonic() < deadline, f"the server does not answer:\n{self.pods.log('server', 'app')}"
            time.sleep(0.1)

    def run(self, *command: str) -> str:
        """Run a command in the client's pod and return what it printed."""
        return self.pods.exec("client", *command).stdout
