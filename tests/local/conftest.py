"""The command line against an instance of the test's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

KUBE_GATEWAY = (sys.executable, "-m", "kube_gateway")


@pytest.fixture
def cli(instance):
    """Runs `kube-gateway local --instance ...` and returns what came of it."""

    def run(*arguments, input=None, timeout=60.0, prefix=()):  # noqa: A002 - subprocess's own word
        line = [*prefix, *KUBE_GATEWAY, "local", "--instance", instance.instance.name, *arguments]
        return subprocess.run(line, input=input, capture_output=True, text=True, timeout=timeout, check=False, cwd="/")

    return run
