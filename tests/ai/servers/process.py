"""A server that a test starts, waits for and ends by its process id, in a pod or on the machine itself."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

Place = Callable[[Sequence[str]], list[str]]
"""Turns a command line into one that runs it elsewhere, for example as a pod's application."""


def here(command: Sequence[str]) -> list[str]:
    """On the machine itself."""
    return list(command)


class ServerProcess:
    """One process, its log and the end of all its children."""

    def __init__(self, place: Place, log: Path) -> None:
        self.place = place
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self, command: Sequence[str], *, environment: dict[str, str], ready: Callable[[], bool], within: float
    ) -> None:
        """Start and wait until `ready`. A server that ends before fails with its log."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.place(command),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + within
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"{command[0]} does not answer:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.1)

    def run(self, *command: str, timeout: float = 60.0, check: bool = True) -> str:
        """Run a command at the same place and return what it printed."""
        done = subprocess.run(self.place(command), capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0 or not check, f"exit {done.returncode} of {command}\n{done.stdout}\n{done.stderr}"
        return done.stdout if done.returncode == 0 else ""

    def stop(self) -> None:
        """SIGTERM for the server and its children, SIGKILL after ten seconds."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(10)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()
        self._process = None

    @property
    def pid(self) -> int:
        """Process id of the server."""
        assert self._process is not None
        return self._process.pid
