"""What the tests of a hand-over have in common: traffic that checks itself, and gateways stopped in the middle."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, contextmanager

from enrolment.test_enrolment import PORT, Knocker
from kube_gateway.local import cgroups

MARKER = "marker-that-must-stay-secret"

# One connection, random bytes both ways all the time, until told to stop; then what was lost or changed.
STREAM = """
import hashlib, json, os, select, socket, sys, threading
s = socket.create_connection((sys.argv[1], PORT), timeout=30)
reader = s.makefile("rb"); reader.readline()
sent, received, total, error = hashlib.sha256(), hashlib.sha256(), 0, None
def receive():
    global total, error
    try:
        while piece := reader.read1(65536):
            received.update(piece); total += len(piece)
    except OSError as problem: error = repr(problem)
thread = threading.Thread(target=receive); thread.start()
print("open", flush=True)
try:
    while not select.select([sys.stdin], [], [], 0.002)[0]:
        piece = os.urandom(8192); s.sendall(piece); sent.update(piece)
    s.shutdown(socket.SHUT_WR)
except OSError as problem: error = repr(problem)
thread.join()
whole = error is None and sent.digest() == received.digest()
print(json.dumps({"whole": whole, "bytes": total, "error": error}), flush=True)
""".replace("PORT", str(PORT))


class Stream:
    """A long stream from one pod to another and back."""

    def __init__(self, pods, source, target):
        self._process = pods.start(source, sys.executable, "-c", STREAM, pods.address(target), stdin=-1)
        assert self._process.stdout.readline() == "open\n", self._process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        output, errors = self._process.communicate("stop\n", timeout=60)
        self.result = json.loads(output) if output else {"whole": False, "error": errors}


@contextmanager
def traffic(pods):
    """New connections and a stream in both directions; what came of it is in the value afterwards."""
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(pods, *pair)) for pair in (("left", "right"), ("right", "left"))]
        knockers = [
            stack.enter_context(Knocker(pods, *pair, MARKER)) for pair in (("left", "right"), ("right", "left"))
        ]
        yield streams, knockers


def check(streams, knockers) -> None:
    """No connection failed, and no byte was lost."""
    assert [knocker.errors for knocker in knockers] == [[], []]
    assert all(knocker.good > 50 for knocker in knockers)
    assert [stream.result["error"] for stream in streams] == [None, None]
    assert all(stream.result["whole"] and stream.result["bytes"] > 1e6 for stream in streams)


def freeze(pods, name, cgroup) -> None:
    """Stop a gateway where it is."""
    _write(pods, name, cgroup, "1")


def thaw(pods, name, cgroup) -> None:
    """It goes on."""
    _write(pods, name, cgroup, "0")


def _write(pods, name, cgroup, value) -> None:
    (cgroups.pod_cgroup(pods.instance, name) / cgroup / "cgroup.freeze").write_text(value)


def freeze_when(pods, name, cgroup, words) -> None:
    """Stop a gateway as soon as the pod's gateways have logged that."""
    deadline = time.monotonic() + 20
    while words not in pods.log(name):
        assert time.monotonic() < deadline, pods.log(name)
        time.sleep(0.002)
    freeze(pods, name, cgroup)


def ended(pods, name, generation, *, timeout=15.0) -> None:
    """Wait until an older gateway has ended with exit code 0."""
    text = f"gateway {generation} of default/{name}, an older one, ended with exit code 0"
    deadline = time.monotonic() + timeout
    while text not in pods.instance.manager_log.read_text():
        assert time.monotonic() < deadline, pods.instance.manager_log.read_text()[-2000:]
        time.sleep(0.1)
