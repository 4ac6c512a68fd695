"""What a gateway knows of connections that were there before it, the next one knows too."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.root

SERVER = """
import socket
listener = socket.create_server(("0.0.0.0", 9300)); print("ready", flush=True); kept = []
while True: kept.append(listener.accept())"""
CLIENT = """
import socket, sys, time
kept = [socket.create_connection((sys.argv[1], 9300)) for _ in range(3)]; print("open", flush=True); time.sleep(99)"""


def test_age_and_order_outlive_a_takeover(instance):
    instance.run("right", sys.executable, "-c", SERVER)
    instance.run("left", "sleep", "infinity")
    instance.wait_log("right", "ready", container="app")
    old = instance.start("left", sys.executable, "-c", CLIENT, instance.address("right"))
    try:
        assert old.stdout.readline() == "open\n"
        instance.annotate("left", encrypt="true")
        instance.annotate("right", encrypt="true")
        before = instance.client.plan_flush("left")
        assert [each.connection.older for each in before.verdicts] == [True] * 3
        instance.annotate("left", exclude_ports="9300")
        outside = instance.start("left", sys.executable, "-c", CLIENT, instance.address("right"))
        try:
            assert outside.stdout.readline() == "open\n"
            instance.counter("left", "clear_standing", fresh=True)
            instance.upgrade("left")
            assert instance.counter("left", "clear_standing", fresh=True) == 6
            after = instance.client.plan_flush("left")
            known = {each.connection.cookie: each.connection for each in before.verdicts}
            assert len(after.verdicts) == 6
            for verdict in after.verdicts:
                earlier = known.get(verdict.connection.cookie)
                assert verdict.connection.older == (earlier is not None)
                assert earlier is None or verdict.connection.age > earlier.age
                assert (verdict.fate, verdict.cause) == ("stays", "not-captured")
        finally:
            outside.kill()
            outside.communicate()
    finally:
        old.kill()
        old.communicate()
