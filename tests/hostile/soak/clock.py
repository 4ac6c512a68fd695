"""The wall clock of the product's processes, set while they run. No kernel gives a process a wall clock of its own."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")

# Gateways and workers get few variables of the environment; PYTHONPATH is one of them.
_START = """
import os, sys
ours = "kube_gateway" in " ".join(sys.orig_argv) and {within!r} in open("/proc/self/cgroup").read()
if ours and os.environ.get("LD_PRELOAD") != {library!r}:
    os.environ["LD_PRELOAD"] = {library!r}
    os.execv(sys.executable, sys.orig_argv)
"""


class Clock:
    """A clock for processes of the product that start while it is `in_force`, in a cgroup with `within` in its path."""

    def __init__(self, directory: Path, *, within: str = "") -> None:
        self._file, self._library = directory / "ahead", directory / "clock.so"
        self._directory = directory
        self.ahead(0)
        define = f'-DCLOCK="{self._file}"'
        command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", define, "-o", self._library, _SOURCE, "-ldl"]
        subprocess.run(command, check=True)
        (directory / "sitecustomize.py").write_text(_START.format(library=str(self._library), within=within))
        # Workers run as nobody.
        for place in (directory, *directory.parents[:2]):
            place.chmod(0o755)

    def ahead(self, seconds: int) -> None:
        """Set it; in force at once."""
        # In place: the processes have the file mapped.
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))

    @contextlib.contextmanager
    def in_force(self):
        """What is started from now on, and what that starts, goes by this clock."""
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(self._directory), *([before] if before else [])])
        try:
            yield
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
