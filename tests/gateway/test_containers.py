"""Whether the application of a pod still runs, as the cgroups of the pod's containers tell."""

from __future__ import annotations

import asyncio

import pytest

from kube_gateway.gateway.containers import application_ended, running_beside


class PodTree:
    """A pod's cgroup as the kernel shows it: a folder for each container, with what says whether anything runs in it."""

    def __init__(self, path):
        self.path = path
        (path / "cgroup.procs").touch()

    def runs(self, name, *, populated=True):
        """A container runs, or has ended; returns the id of its cgroup."""
        directory = self.path / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "cgroup.events").write_text(f"populated {int(populated)}\nfrozen 0\n")
        return directory.stat().st_ino


@pytest.fixture
def pod(tmp_path):
    tree = PodTree(tmp_path)
    tree.runs("sandbox")
    return tree


def test_each_container_counts_but_those_of_gateways_and_those_that_have_ended(pod):
    gateways = [pod.runs("gateway-1"), pod.runs("gateway-2")]
    assert running_beside(pod.path, gateways=gateways) == 1
    pod.runs("app")
    pod.runs("helper")
    assert running_beside(pod.path, gateways=gateways) == 3
    pod.runs("helper", populated=False)
    assert running_beside(pod.path, gateways=gateways) == 2


def test_a_gateway_in_a_cgroup_within_its_containers_is_found(pod):
    pod.runs("crio-1.scope")
    own = pod.runs("crio-1.scope/container")
    assert running_beside(pod.path, gateways=[own]) == 1


def test_a_monitor_is_no_container(pod):
    pod.runs("crio-conmon-1.scope")
    assert running_beside(pod.path, gateways=[]) == 1


def test_a_cgroup_that_goes_meanwhile_has_ended(pod):
    (pod.path / "going").mkdir()
    assert running_beside(pod.path, gateways=[]) == 1


def test_a_tree_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        running_beside(tmp_path / "none", gateways=[])


async def test_it_is_waited_until_nothing_but_the_sandbox_is_left(pod):
    own = pod.runs("gateway")
    pod.runs("app")
    waiting = asyncio.create_task(application_ended(pod.path, gateways=lambda: [own]))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    pod.runs("app", populated=False)
    await asyncio.wait_for(waiting, 5)


async def test_a_gateway_that_comes_meanwhile_is_not_waited_for(pod):
    gateways = [pod.runs("gateway-1"), pod.runs("gateway-2")]
    known = gateways[:1]
    waiting = asyncio.create_task(application_ended(pod.path, gateways=lambda: known))
    await asyncio.sleep(0.5)
    assert not waiting.done()
    known.append(gateways[1])
    await asyncio.wait_for(waiting, 5)
