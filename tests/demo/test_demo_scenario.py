import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kube_gateway.local.cgroups import instance_cgroup
from kube_gateway.local.instance import Instance
from kube_gateway.local.lifecycle import down
from kube_gateway.local.network import namespace_path
from kube_gateway.observe.proof import examine

pytestmark = pytest.mark.root

_numbers = itertools.count()


@pytest.fixture
def own_instance():
    """A name for the demo's instance; nothing may be left of it, whatever happened."""
    instance = Instance(f"t{os.getpid()}d{next(_numbers)}")
    yield instance
    assert down(instance) is False, "the demo left something behind"


def _demo(instance, captures: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "kube_gateway",
        "demo",
        "--instance",
        instance.name,
        "--captures",
        str(captures),
        *arguments,
    ]


def _assert_gone(instance) -> None:
    assert not instance.directory.exists()
    assert not namespace_path(instance.namespace).exists()
    assert not instance_cgroup(instance).exists()


def test_the_story_holds_and_its_captures_tell_the_same(own_instance, tmp_path: Path) -> None:
    done = subprocess.run(
        _demo(own_instance, tmp_path, "--output", "json"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    _assert_gone(own_instance)
    result = json.loads(done.stdout)
    assert result["passed"] and result["seconds"] < 25
    stages = {stage["name"]: stage for stage in result["stages"]}
    assert list(stages) == ["clear", "one-enrolled", "both-enrolled", "flushed"]
    assert [stage["payload_visible"] for stage in stages.values()] == [True, True, True, False]
    assert [port["port"] for port in stages["flushed"]["ports"] if port["payload_bytes"]] == [18443]
    assert len({json.dumps(stage["pids"]) for stage in stages.values()}) == 1
    assert {stage["requests_failed"] for stage in stages.values()} == {0}
    # The files say the same to whoever reads them later, and to another program.
    for stage in stages.values():
        evidence = examine(Path(stage["capture"]), markers={"hello": b"Hello from"})
        assert bool(evidence.sightings) == stage["payload_visible"]
    assert shutil.which("tcpdump"), "tcpdump is needed as the second witness: apt-get install tcpdump"
    for name, readable in (("clear", True), ("flushed", False)):
        text = subprocess.run(["tcpdump", "-nAr", stages[name]["capture"]], capture_output=True, check=True).stdout
        assert (b"Hello from pod-" in text) == readable


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(own_instance, tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(_demo(own_instance, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while line := process.stdout.readline():
            if line.startswith(b"1. "):
                break
        process.send_signal(number)
        _, words = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"Traceback" not in words
    _assert_gone(own_instance)


def test_an_instance_that_is_up_is_refused_and_left_alone(instance, tmp_path: Path) -> None:
    instance.run("mine", "sleep", "60")
    done = subprocess.run(_demo(instance.instance, tmp_path), capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: the instance '{instance.instance.name}' is up already" in done.stderr
    assert "hint: kube-gateway local --instance" in done.stderr
    assert instance.pod("mine").state == "running"


def test_a_stage_that_does_not_hold_fails_the_demo(own_instance, tmp_path: Path) -> None:
    """With a process of the pod killed in the middle, the demo must say so and exit 1."""
    command = _demo(own_instance, tmp_path, "--output", "json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _kill_program_of_second_pod(own_instance, tmp_path)
        output, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert words.startswith("error: ")
    assert json.loads(output)["passed"] is False
    _assert_gone(own_instance)


def _kill_program_of_second_pod(instance, captures: Path) -> None:
    deadline = time.monotonic() + 20
    while not (captures / "1-clear.pcap").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(2.5)
    statistics = json.loads((instance.directory / "demo" / "pod-02.json").read_text())
    os.kill(statistics["pid"], signal.SIGKILL)


def test_captures_that_cannot_be_kept_are_a_clear_error(own_instance, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        _demo(own_instance, tmp_path / "file" / "x"), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert "cannot hold the captures: Not a directory" in done.stderr
