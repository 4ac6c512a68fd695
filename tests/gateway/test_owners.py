"""Whose a connection is: containers and processes of a pod, found piece by piece."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from kube_gateway.gateway import owners
from kube_gateway.gateway.owners import Owners


@pytest.fixture
def pod(tmp_path):
    """A tree that looks like a pod's cgroups; this process is in the container `app`."""
    for name, members in (("", ""), ("app", f"0\n{os.getpid()}\n"), ("gateway", "1\n"), ("app/inner", "")):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "cgroup.procs").write_text(members)
    return tmp_path


def inode(of):
    return os.fstat(of.fileno()).st_ino


def test_a_process_that_has_a_socket_open_is_found(pod):
    with socket.socket() as mine:
        found = Owners(pod)
        found.look_for({inode(mine)}, leave_out=())
        process = found.process(inode(mine))
        assert (process.pid, process.descriptor) == (os.getpid(), mine.fileno())
        assert process.name == Path("/proc/self/comm").read_text().strip()
        assert 0 < process.age < 24 * 3600


def test_a_socket_that_was_closed_has_no_process_any_more(pod):
    found = Owners(pod)
    mine = socket.socket()
    number = inode(mine)
    found.look_for({number}, leave_out=())
    mine.close()
    found.look_for({number}, leave_out=())
    assert found.process(number) is None


def test_a_search_goes_on_where_it_was(pod, monkeypatch):
    monkeypatch.setattr(owners, "_DESCRIPTORS_AT_ONCE", 2)
    with socket.socket() as mine:
        found, looks = Owners(pod), 0
        while found.process(inode(mine)) is None:
            found.look_for({inode(mine)}, leave_out=())
            looks += 1
            assert looks < 1000
        assert looks > 1


def test_what_is_not_found_is_not_searched_for_all_the_time(pod, monkeypatch):
    found = Owners(pod)
    found.look_for({1}, leave_out=())
    with socket.socket() as later:
        found.look_for({inode(later)}, leave_out=())
        assert found.process(inode(later)) is None
        monkeypatch.setattr(owners, "_LOOK_AGAIN", 0.0)
        found.look_for({inode(later)}, leave_out=())
        assert found.process(inode(later)).pid == os.getpid()


def test_a_container_that_is_to_be_left_out_is_not_searched(pod):
    with socket.socket() as mine:
        found = Owners(pod)
        found.look_for({inode(mine)}, leave_out={(pod / "app").stat().st_ino})
        assert found.process(inode(mine)) is None


def test_containers_have_the_names_of_their_cgroups(pod):
    found = Owners(pod)
    assert found.container((pod / "app").stat().st_ino) == "app"
    assert found.container((pod / "app/inner").stat().st_ino) == "app/inner"
    assert found.container(0) == found.container(2**40) == ""
    (pod / "later").mkdir()
    assert found.container((pod / "later").stat().st_ino) == "", "not looked for again at once"


def test_a_tree_and_processes_that_have_gone_are_no_error(pod, tmp_path):
    (pod / "app" / "cgroup.procs").write_text(f"{2**22 + 1}\n")
    found = Owners(pod, proc=tmp_path / "nothing")
    found.look_for({1, 2}, leave_out=())
    assert found.process(1) is None
    assert Owners(tmp_path / "gone").container(5) == ""


def test_ten_thousand_descriptors_take_little_time_at_once(pod, monkeypatch):
    monkeypatch.setattr(Owners, "_descriptors", lambda _self, _pid: list(range(10_000)))
    found = Owners(pod)
    began = time.process_time()
    found.look_for({2**40}, leave_out=())
    assert time.process_time() - began < 0.2
