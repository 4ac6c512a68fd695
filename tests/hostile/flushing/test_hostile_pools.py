"""Pools of real programs that were connected before the gateways: shown, ended in their turn, encrypted to the last."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from hostile.flushing.pools import Pool
from hostile.length import amount
from programs.postgresql import PostgreSQL
from programs.redis import Redis

pytestmark = pytest.mark.root

SESSIONS = amount(full=40, short=12)

WHOLE = "A pool that is flushed is made anew session by session, no answer is lost, and then all of it is encrypted"
STRICT = "With `netflush` a strict pod keeps no connection in clear, not with unenrolled peers either"
CHOSEN = "Connections that are busy or opted out are not ended"


@pytest.fixture
def directory():
    """A directory that a server which is not root can be let into, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="kube-gateway-test-") as path:
        yield Path(path)


def enrol(pods):
    pods.annotate("client", encrypt="true")
    pods.annotate("server", encrypt="true")


def dry_run(pods, name):
    """What `kube-gateway local flush NAME --dry-run` says, as data."""
    line = [sys.executable, "-m", "kube_gateway", "local", "--instance", pods.instance.name]
    line += ["flush", name, "--dry-run", "--output", "json"]
    return json.loads(subprocess.run(line, capture_output=True, text=True, check=True, cwd="/").stdout)


def eventually(what, condition, *, within=30.0):
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def causes(plan):
    return {(connection["fate"], connection["cause"]) for connection in plan["connections"]}


def ended_at_once(pods):
    """How many connections the manager had ended each time."""
    log = pods.instance.manager_log.read_text()
    return [int(number) for number in re.findall(r"ending (\d+) connections of \S+ that are in clear", log)]


def test_a_pool_of_postgresql_is_encrypted_to_the_last_and_no_answer_is_lost(directory, instance, figures):
    program = PostgreSQL(instance, directory)
    program.start()
    with Pool(instance, "client", "postgresql_pool.py", program.server, SESSIONS) as pool:
        time.sleep(1.5)
        enrol(instance)

        plan = eventually(
            "the pool is not seen", lambda: (found := dry_run(instance, "client"))["left_out"] == 0 and found
        )
        assert plan["standing"] == {"encrypted": 0, "clear": SESSIONS, "percent": 0}
        assert causes(plan) == {("ends", "comes-back-encrypted")}
        assert plan["netflush"] == "never"
        assert 10 <= plan["seconds"] <= SESSIONS
        eventually("no owner is found", lambda: all(each["pid"] for each in dry_run(instance, "client")["connections"]))
        for connection in dry_run(instance, "client")["connections"]:
            assert connection["older"]
            assert not connection["relayed"]
            assert 0 < connection["age"] <= connection["process_age"]
            assert connection["process"].startswith("python")
            assert (connection["container"], connection["peer"]) == ("app", "default/server")
        at_server = dry_run(instance, "server")["connections"]
        assert {connection["process"] for connection in at_server if connection["pid"]} == {"postgres"}
        assert len(at_server) == SESSIONS

        time.sleep(2)
        assert sum(pool.fresh()["broken"]) == 0, "without netflush nothing is ended"

        begun = time.monotonic()
        instance.annotate("client", netflush="true")
        instance.annotate("server", netflush="true")
        eventually(
            "not all are encrypted", lambda: dry_run(instance, "client")["standing"]["percent"] == 100, within=90
        )
        took = time.monotonic() - begun
        time.sleep(2.5)
        said = pool.fresh()
        assert said["broken"] == [1] * SESSIONS, "each is made anew once"
        assert said["wrong"] == 0
        assert dry_run(instance, "client")["standing"] == {"encrypted": SESSIONS, "clear": 0, "percent": 100}
        assert dry_run(instance, "server")["connections"] == []
        at_once = ended_at_once(instance)
        assert sum(at_once) == SESSIONS
        assert max(at_once) == max(SESSIONS // 10, 1)
        assert took >= plan["seconds"] - 2, "the pool was cut too fast"
        figures(WHOLE, sessions=SESSIONS, answers=said["answers"], wrong=0, seconds=round(took, 1), in_clear=0)


def test_of_a_pool_of_redis_only_what_is_idle_and_not_opted_out_is_ended(directory, instance, figures):
    program = Redis(instance, directory)
    program.start()
    with Pool(instance, "client", "redis_pool.py", program.server, 3, 2) as pool:
        enrol(instance)
        instance.annotate("server", netflush_exclude_ports="6379")
        instance.annotate("client", netflush="true")
        time.sleep(3)
        plan = dry_run(instance, "client")
        assert causes(plan) == {("stays", "opted-out")}
        assert plan["standing"] == {"encrypted": 0, "clear": 5, "percent": 0}

        instance.annotate("client", netflush="idle")
        instance.annotate("server", remove=["netflush_exclude_ports"])
        eventually("the idle ones stand", lambda: dry_run(instance, "client")["standing"]["clear"] == 2)
        time.sleep(2)
        assert causes(dry_run(instance, "client")) == {("waits", "busy")}
        assert pool.use_idle_ones() == {"broken": {"idle": 3, "busy": 0}}
        eventually("they are not encrypted", lambda: dry_run(instance, "client")["standing"]["encrypted"] == 3)
        assert dry_run(instance, "client")["standing"]["percent"] == 60

        instance.annotate("client", netflush="true")
        eventually("the busy ones stand", lambda: dry_run(instance, "client")["standing"]["percent"] == 100)
        assert pool.fresh() == {"broken": {"idle": 3, "busy": 2}}
        figures(CHOSEN, connections=5, ended_while_busy_or_opted_out=0)


CLIENT = """
import socket, sys
address = (sys.argv[1], 6379)
kept = [socket.create_connection(address) for _ in range(3)]
print("open", flush=True)
for each in kept:
    try: print("ended", repr(each.recv(10)), flush=True)
    except OSError as error: print(type(error).__name__, flush=True)
try: print("again", repr(socket.create_connection(address).recv(10)), flush=True)
except OSError as error: print(type(error).__name__, flush=True)"""


@pytest.mark.parametrize("strict", ["client", "server"])
def test_a_strict_pod_keeps_nothing_in_clear_and_gets_nothing_again(directory, instance, figures, strict):
    program = Redis(instance, directory)
    program.start()
    client = instance.start("client", sys.executable, "-c", CLIENT, program.server)
    try:
        assert client.stdout.readline() == "open\n"
        instance.annotate(strict, encrypt="strict")
        assert causes(dry_run(instance, strict)) == {("ends", "strict")}
        instance.annotate(strict, netflush="true")
        # Its own gateway takes a connection before it knows where that may go; another pod's is refused by the kernel.
        ended, again = {
            "client": ("ConnectionAbortedError", "ConnectionResetError"),
            "server": ("ConnectionResetError", "ConnectionRefusedError"),
        }[strict]
        assert client.communicate(timeout=30)[0].split() == [ended] * 3 + [again]
        eventually("some stand", lambda: dry_run(instance, strict)["standing"]["clear"] == 0)
        figures(STRICT, strict=strict, connections=3, kept=0, made_again=0)
    finally:
        client.kill()
        client.communicate()
