"""A pod whose hooks are told what to do by the test itself, without a gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from kube_gateway import _native
from kube_gateway.local import cgroups
from kube_gateway.local.launch import in_pod

KEEPER = str(Path(__file__).with_name("keeper.py"))
PROGRAMS = 10
"""How many of them are on a cgroup."""


class Hooked:
    """A pod under hooks that a process in the place of its gateway holds."""

    def __init__(self, pods, name: str) -> None:
        self._pods, self._name = pods, name
        self.cgroup = str(cgroups.pod_cgroup(pods.instance, name))
        self.address, self.address6 = (pods.address(name, family) for family in (0, 1))
        line = in_pod(pods.instance, name, (sys.executable, KEEPER), role=cgroups.GATEWAY)
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, do: str, **arguments):
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"{do} {arguments} failed"
        return json.loads(answer)

    def configure(self, **changes) -> None:
        """As for a pod that captures everything; `changes` win."""
        own = Path(self.cgroup) / cgroups.GATEWAY
        settings = {
            "gateway_cgroups": [own.stat().st_ino],
            "capture": True,
            "strict": False,
            "addresses": [self.address, self.address6],
            "rules": [("0.0.0.0", 0, True), ("::", 0, True)],
            "excluded_ports": [],
            "stale_after": 5.0,
        }
        self("configure", **settings | changes)

    def counter(self, name: str) -> int:
        return self("counters")[name]

    def kill(self) -> None:
        """SIGKILL, as the kernel does it to a gateway that takes too much memory."""
        self._process.kill()
        self._process.wait()

    def python(self, text: str, *arguments: str, timeout: float = 30.0) -> str:
        """Run a program as the pod's application and return what it prints."""
        return self._pods.exec(self._name, sys.executable, "-c", text, *arguments, timeout=timeout).stdout.strip()

    def end(self) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()
        _native.remove_hooks(self.cgroup)


@contextmanager
def running(pods, name, text, *arguments):
    """A program that prints `ready` and then goes on until the end of the block."""
    process = pods.start(name, sys.executable, "-u", "-c", text, *arguments, stdin=subprocess.PIPE)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()
