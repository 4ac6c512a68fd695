"""Where a pod's cgroup is, seen from one of its containers."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from kube_gateway.errors import EnvironmentProblem
from kube_gateway.gateway import cgroups
from kube_gateway.gateway.cgroups import cgroup_of, given_cgroup, levels_up

POD = "/kubepods.slice/kubepods-pod1.slice"


@pytest.mark.parametrize(
    ("own", "application", "levels"),
    [
        # The whole tree is in sight: as far up as the two have in common.
        (f"{POD}/cri-b.scope", f"{POD}/cri-a.scope", 1),
        (f"{POD}/cri-b.scope/container", f"{POD}/cri-a.scope/container", 2),
        (f"{POD}/b", f"{POD}/a/init.scope", 1),
        # A cgroup namespace: ours is the root, and each `..` of the other's path leads one up.
        ("/", "/../cri-a.scope", 1),
        ("/", "/../../cri-a.scope/container", 2),
        # Without the application in sight, or with it nowhere near, one up.
        ("/", "/", 1),
        (f"{POD}/b", f"{POD}/b", 1),
        (f"{POD}/b", "/init.scope", 1),
        (f"{POD}/b", "/", 1),
        ("/", "/../../../../system.slice", 1),
    ],
)
def test_levels_up(own, application, levels):
    assert levels_up(PurePosixPath(own), PurePosixPath(application)) == levels


def process(directory: Path, name: str, text: str) -> None:
    (directory / name).mkdir()
    (directory / name / "cgroup").write_text(text)


def test_only_the_tree_of_version_2_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "_PROC", tmp_path)
    process(tmp_path, "7", "12:cpu:/elsewhere\n1:name=systemd:/other\n0::/kubepods/pod1/a\n")
    assert cgroup_of("7") == PurePosixPath("/kubepods/pod1/a")


def test_a_kernel_without_version_2_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "_PROC", tmp_path)
    process(tmp_path, "7", "12:cpu:/elsewhere\n")
    with pytest.raises(EnvironmentProblem, match="no cgroup2 tree") as raised:
        cgroup_of("7")
    assert "Linux 5.10" in raised.value.hint


def test_a_process_that_is_gone_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "_PROC", tmp_path)
    with pytest.raises(EnvironmentProblem, match="cannot read the cgroup of process 7: No such file"):
        cgroup_of("7")


def test_a_given_cgroup_is_used_if_this_process_is_in_the_child_for_the_gateway(tmp_path):
    own = tmp_path / "gateway"
    own.mkdir()
    (own / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    found = given_cgroup(tmp_path)
    assert (found.path, found.own, found.how) == (tmp_path, own.stat().st_ino, "as given")


def test_a_given_cgroup_that_this_process_is_not_in_is_refused(tmp_path):
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "cgroup.procs").write_text("1\n")
    with pytest.raises(EnvironmentProblem, match="this process is not in the gateway's cgroup"):
        given_cgroup(tmp_path)


def test_a_given_cgroup_that_is_none_is_refused(tmp_path):
    with pytest.raises(EnvironmentProblem, match="cannot read the gateway's cgroup") as raised:
        given_cgroup(tmp_path)
    assert raised.value.hint == "is cgroup2 mounted?"
