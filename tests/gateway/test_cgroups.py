"""Where a pod's cgroup is, seen from one of its containers."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from kube_gateway.errors import EnvironmentProblem
from kube_gateway.gateway import cgroups
from kube_gateway.gateway.cgroups import cgroup_of, given_cgroup, level_of_pod

UID = "0b5c2d5e-1c0e-4b62-9d51-5d0f8b9a7a11"
SYSTEMD = "kubepods-burstable-pod0b5c2d5e_1c0e_4b62_9d51_5d0f8b9a7a11.slice"
CGROUPFS = f"pod{UID}"


@pytest.mark.parametrize(
    ("above", "level"),
    [
        ((CGROUPFS, "burstable", "kubepods"), 1),
        ((SYSTEMD, "kubepods-burstable.slice", "kubepods.slice"), 1),
        # CRI-O with crun: a scope around each container.
        (("crio-4f5e.scope", SYSTEMD, "kubepods-burstable.slice"), 2),
        ((CGROUPFS, SYSTEMD), 1),
    ],
)
def test_the_pods_cgroup_is_the_one_named_for_its_uid(above, level):
    assert level_of_pod(above, UID) == level


@pytest.mark.parametrize("above", [(), ("burstable", "kubepods"), ("pod0b5c2d5e-another",), ("a", "b", "c", CGROUPFS)])
def test_without_such_a_name_nothing_is_guessed(above):
    with pytest.raises(EnvironmentProblem, match=f"named for the pod {UID}: "):
        level_of_pod(above, UID)


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
