"""A machine that lacks something is told what, before anything is made."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kube_gateway.errors import EnvironmentProblem
from kube_gateway.local.cgroups import mount_point
from kube_gateway.local.instance import Instance
from kube_gateway.local.network import namespace_path
from kube_gateway.local.preflight import check_kernel

pytestmark = pytest.mark.root
INSTANCE = f"p{os.getpid()}"
UP = [sys.executable, "-m", "kube_gateway", "local", "--instance", INSTANCE, "up"]


@pytest.mark.parametrize("release", ["5.10.0-32-amd64", "6.1.0", "6.18.44+", "10.0"])
def test_a_kernel_that_is_new_enough(release):
    check_kernel(release)


@pytest.mark.parametrize("release", ["4.19.0-27-amd64", "5.9.16", "3.10", "unknown"])
def test_a_kernel_that_is_too_old_is_named(release):
    with pytest.raises(EnvironmentProblem) as old:
        check_kernel(release)
    assert old.value.message == f"this is Linux {release}, and the eBPF hooks need 5.10 or later"


def refused(line: list[str], **environment: str) -> str:
    """What `up` says when it cannot; nothing is left of the try."""
    done = subprocess.run(line, capture_output=True, text=True, env=os.environ | environment, check=False, timeout=30)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    instance = Instance(INSTANCE)
    assert not instance.directory.exists()
    assert not namespace_path(instance.namespace).exists()
    return done.stderr


def test_without_root():
    words = refused(["setpriv", "--reuid", "65534", "--clear-groups", *UP])
    assert words == (
        "error: local mode makes network namespaces and loads eBPF, which needs root\nhint: run it with sudo\n"
    )


def test_without_iproute2():
    words = refused(UP, PATH="/nonexistent")
    assert words == "error: the program ip is missing\nhint: apt-get install iproute2\n"


def test_without_cgroup2():
    """In a mount namespace of its own, where it is unmounted."""
    unmount = f"umount -l {mount_point()} && exec " + '"$@"'
    words = refused(["unshare", "-m", "sh", "-c", unmount, "sh", *UP])
    assert words.startswith("error: cgroup2 is not mounted, and the eBPF hooks are attached to cgroups of its kind\n")
    assert "hint: mkdir -p" in words


def test_without_the_privilege_to_load_ebpf():
    """Root without capabilities: the first thing that is refused is named."""
    words = refused(["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *UP])
    assert words.startswith("error: ")
    assert "Operation not permitted" in words or "cannot" in words
