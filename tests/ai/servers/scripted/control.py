"""The scripted upstream as a test uses it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import msgspec

from ai.servers.process import Place, ServerProcess, here
from ai.servers.scripted.script import Script, Seen

PORT = 8400
_TESTS = Path(__file__).resolve().parents[3]


class ScriptedUpstream:
    """One upstream on all addresses. What it does is documented where it runs, in `__main__`."""

    def __init__(self, directory: Path, *, place: Place = here) -> None:
        self._directory = directory
        self._process = ServerProcess(place, directory / "scripted.log")

    def start(self) -> None:
        """Start it with the script that every field has by default."""
        self.play(Script())
        self._process.start(
            [sys.executable, "-m", "ai.servers.scripted", str(self._directory), str(PORT)],
            environment={"PATH": os.environ["PATH"], "PYTHONPATH": str(_TESTS)},
            ready=lambda: bool(self._process.run("curl", "-sf", f"http://127.0.0.1:{PORT}/ready", check=False)),
            within=30,
        )
        self.forget()

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def play(self, script: Script) -> None:
        """Answer the next requests so."""
        fresh = self._directory / "script.json.new"
        fresh.write_bytes(msgspec.json.encode(script))
        fresh.replace(self._directory / "script.json")

    def forget(self) -> None:
        """Forget what was seen."""
        (self._directory / "seen.jsonl").write_bytes(b"")

    def seen(self) -> list[Seen]:
        """The requests that are over, in the order of their ends."""
        lines = (self._directory / "seen.jsonl").read_bytes().splitlines()
        return [msgspec.json.decode(line, type=Seen) for line in lines]

    def wait_seen(self, count: int, *, timeout: float = 5.0) -> list[Seen]:
        """The same, once there are `count`; more fail."""
        deadline = time.monotonic() + timeout
        while len(seen := self.seen()) < count:
            assert time.monotonic() < deadline, f"{len(seen)} requests are over, not {count}"
            time.sleep(0.02)
        assert len(seen) == count, [each.target for each in seen]
        return seen
