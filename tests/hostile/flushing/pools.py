"""Pools of connections in pods, as applications have them."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

HERE = Path(__file__).parent


class Pool:
    """A program of a pod that tells what it sees, a JSON object a line; `last` is the newest."""

    def __init__(self, pods, name, script, *arguments):
        line = (sys.executable, str(HERE / script), *map(str, arguments))
        self._process = pods.start(name, *line, stdin=-1)
        self.last = None
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)

    def __enter__(self):
        self._reader.start()
        self.fresh()
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._reader.join()
        self._process.communicate()

    def _read(self):
        for line in self._process.stdout:
            self._tell(json.loads(line))
        self._tell(None)

    def _tell(self, said):
        with self._changed:
            self.last = said
            self._changed.notify_all()

    def fresh(self):
        """What it says next."""
        with self._changed:
            told = self._process.poll() is None and self._changed.wait(timeout=20)
            if not told or self.last is None:
                self._process.kill()
                raise AssertionError(f"the pool says nothing: {self._process.stderr.read()}")
            return self.last

    def use_idle_ones(self):
        """What it says once it has used all."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.fresh()
        return self.fresh()
