"""The gate of a strict pod while one gateway takes over from another whose maps are of another layout."""

from __future__ import annotations

import json
import sys
import time

import pytest

from datapath import scripts
from handover.scenes import Stream
from hooks import hook_programs as programs
from hooks.hooked import running

pytestmark = pytest.mark.root
PORT = 9000


def test_the_newer_gateways_gate_is_there_before_the_older_one_stops(instance, other_layout):
    for name in ("server", "stranger"):
        instance.run(name, sys.executable, "-u", "-c", scripts.server(PORT))
    instance.annotate("server", encrypt="strict")
    with running(instance, "stranger", programs.HAMMER, instance.address("server"), str(PORT)) as hammer:
        instance.upgrade("server")
        time.sleep(0.5)
        output, _ = hammer.communicate("stop\n", timeout=20)
    assert set(json.loads(output)) == {"ConnectionRefusedError"}
    instance.wait_log("server", "taken over from generation 1")


def test_the_older_one_takes_its_gate_away(instance, other_layout):
    """What one of two refuses is refused, and of the older one's settings nobody changes any more."""
    for name in ("left", "right", "stranger"):
        instance.run(name, sys.executable, "-u", "-c", scripts.server(PORT))
    instance.annotate("left", encrypt="true")
    instance.annotate("right", encrypt="strict")
    order = (sys.executable, "-c", programs.CONNECT, instance.address("right"), str(PORT), "2")
    with Stream(instance, "left", "right") as stream:
        instance.upgrade("right")
        assert instance.exec("stranger", *order).stdout == "ConnectionRefusedError soon\n"
        instance.annotate("right", encrypt="true")
        assert set(instance.gateway_processes("right")) == {"supervisor", "worker"}
        assert instance.exec("stranger", *order).stdout == "connected\n"
    assert stream.result["whole"]
