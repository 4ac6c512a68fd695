"""An instance's beginning and end, also when its manager was killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import remains

from kube_gateway.local.store import start_time

pytestmark = pytest.mark.root


def kill_manager(instance) -> None:
    pid = remains.manager_pid(instance)
    os.kill(pid, signal.SIGKILL)
    while start_time(pid):
        time.sleep(0.01)


def test_up_twice_is_up_once(instance, cli):
    before = remains.manager_pid(instance)
    again = cli("up")
    assert again.returncode == 0, again.stderr
    assert "already" in again.stderr
    assert remains.manager_pid(instance) == before


def test_down_removes_everything_and_can_be_repeated(instance, cli):
    instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    assert remains.of_instance(instance)
    assert cli("down").returncode == 0
    assert remains.of_instance(instance) == []
    again = cli("down")
    assert again.returncode == 0, again.stderr
    assert remains.of_instance(instance) == []


def test_down_after_the_manager_was_killed_leaves_nothing(instance, cli):
    instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    kill_manager(instance)
    assert cli("down").returncode == 0
    assert remains.of_instance(instance) == []


def test_down_of_one_instance_leaves_the_other(instance, module_instance):
    module_instance.run("one", "sleep", "3600")
    instance.run("one", "sleep", "3600")
    instance.down()
    assert module_instance.pod("one").state == "running"


def test_up_adopts_running_pods_and_gateways(instance, cli):
    before = instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    gateway = instance.gateway_processes("one")
    kill_manager(instance)
    assert cli("up").returncode == 0
    after = instance.client.wait_settled("one", timeout=20)
    assert (after.uid, after.pids, after.addresses) == (before.uid, before.pids, before.addresses)
    assert (after.gateway, after.generation) == ("ready", 1)
    assert instance.gateway_processes("one") == gateway


def test_an_adopted_pod_is_managed_like_any_other(instance, cli):
    instance.run("one", "sleep", "3600", encrypt="true")
    instance.client.wait_settled("one", timeout=20)
    kill_manager(instance)
    assert cli("up").returncode == 0
    instance.client.wait_settled("one", timeout=20)
    assert cli("annotate", "one", "encrypt-").returncode == 0
    assert instance.pod("one").gateway == "none"
    assert cli("delete", "one").returncode == 0
    assert remains.of_pod(instance, "one") == []


def test_up_after_a_kill_notices_what_ended_meanwhile(instance, cli):
    pod = instance.run("one", "sleep", "3600")
    kill_manager(instance)
    os.kill(pod.pids[0], signal.SIGKILL)
    assert cli("up").returncode == 0
    assert instance.pod("one").state.startswith("ended")


def test_without_an_instance_every_verb_says_what_to_do(instance, cli):
    instance.down()
    for verb in (["pods"], ["run", "a", "--", "sleep", "1"], ["annotate", "a", "encrypt=true"], ["delete", "a"]):
        done = cli(*verb)
        assert done.returncode == 1, verb
        assert "is not up" in done.stderr, verb
        assert "hint: kube-gateway local" in done.stderr, verb


@pytest.mark.parametrize("verb", ["up", "down", "pods"])
def test_who_is_not_root_is_told_so(instance, cli, verb):
    done = cli(verb, prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    assert done.returncode == 1
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr
    assert remains.of_instance(instance)


@pytest.mark.parametrize("program", ["ip", "nsenter"])
def test_a_missing_program_is_named(instance, cli, tmp_path, program):
    for name in {"ip", "nsenter", "sh"} - {program}:
        (tmp_path / name).symlink_to(shutil.which(name))
    done = cli("up", prefix=("env", f"PATH={tmp_path}"))
    assert done.returncode == 1
    assert f"the program {program} is missing" in done.stderr


@pytest.mark.parametrize("name", ["", "a-b", "A", "../x", "x" * 17])
def test_an_impossible_instance_name_is_refused(name):
    done = subprocess.run(
        [sys.executable, "-m", "kube_gateway", "local", "--instance", name, "up"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "cannot name an instance" in done.stderr


def test_state_is_for_root_only(instance):
    directory = instance.instance.directory
    assert directory.stat().st_mode & 0o777 == 0o700
    for socket in (instance.instance.manager_socket, instance.instance.control_socket):
        assert socket.stat().st_mode & 0o777 == 0o600
    assert (instance.instance.authority / "ca.key").stat().st_mode & 0o777 == 0o600
