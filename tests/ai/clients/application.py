"""A program in a pod that uses one library, as a test speaks to it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import msgspec

from ai.clients.exchange import Answer, Question
from ai.servers.process import Place

_TESTS = Path(__file__).resolve().parents[2]
_TIMEOUT = 60.0


class Application:
    """It is started once and asked many times: to import a library takes a second or two. `directory` is for its log."""

    def __init__(self, library: str, directory: Path, *, place: Place) -> None:
        self._log = directory / f"{library}.log"
        # What the machine has of proxies and keys is not part of the test.
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_TESTS), "HOME": str(directory)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                place([sys.executable, "-m", "ai.clients.driver", library]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )

    @property
    def pid(self) -> int:
        """Process id, to see that it is the same one."""
        return self._process.pid

    def ask(self, question: Question) -> Answer:
        """Ask once."""
        return self.ask_all(question)[0]

    def ask_all(self, question: Question) -> list[Answer]:
        """Ask as often as the question says, and return the answer to each."""
        self.begin(question)
        return self.end()

    def begin(self, question: Question) -> None:
        """Ask, and do not wait."""
        self._process.stdin.write(msgspec.json.encode(question) + b"\n")
        self._process.stdin.flush()

    def end(self) -> list[Answer]:
        """The answers to what was asked before."""
        ready, _, _ = select.select([self._process.stdout], [], [], _TIMEOUT)
        line = self._process.stdout.readline() if ready else b""
        assert line, f"the program says nothing:\n{self._log.read_text()[-4000:]}"
        return msgspec.json.decode(line, type=list[Answer])

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
