"""What local mode needs of this machine, checked before anything is made."""

from __future__ import annotations

import os
import re
import shutil

from kube_gateway.errors import EnvironmentProblem
from kube_gateway.local.cgroups import mount_point

_OLDEST_KERNEL = (5, 10)


def check_machine() -> None:
    """Raise `EnvironmentProblem` naming the first thing that is missing and how to get it."""
    if os.geteuid() != 0:
        raise EnvironmentProblem(
            "local mode makes network namespaces and loads eBPF, which needs root", hint="run it with sudo"
        )
    check_kernel(os.uname().release)
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(program) is None:
            raise EnvironmentProblem(f"the program {program} is missing", hint=f"apt-get install {package}")
    mount_point()


def check_kernel(release: str) -> None:
    """Raise `EnvironmentProblem` when the kernel of this release is too old."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    version = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if version < _OLDEST_KERNEL:
        raise EnvironmentProblem(
            f"this is Linux {release}, and the eBPF hooks need 5.10 or later", hint="boot a newer kernel"
        )
