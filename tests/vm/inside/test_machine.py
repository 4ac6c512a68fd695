"""The machine is what these tests are for: another kernel, and cgroups of version 2 alone."""

from __future__ import annotations

import os
from pathlib import Path


def test_the_kernel_is_debians_6_1():
    assert os.uname().release.startswith("6.1.0-")


def test_cgroups_are_of_version_2_alone():
    kinds = {line.rpartition(" - ")[2].split()[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    assert "cgroup2" in kinds
    assert "cgroup" not in kinds
    assert Path("/proc/self/cgroup").read_text().startswith("0::")
    assert "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text()
