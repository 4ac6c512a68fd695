"""What AI control takes is loaded where it is asked for, and nowhere else."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(name for name in sys.modules if name.startswith(("kube_gateway.ai", "opentelemetry", "yaml"))))
"""


def loaded(*modules):
    line = [sys.executable, "-c", LOADED, *modules]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize(
    "modules",
    [
        ("kube_gateway.gateway.worker",),
        ("kube_gateway.gateway.supervisor", "kube_gateway.gateway.handover.taking"),
        ("kube_gateway.cli.main", "kube_gateway.cli.local", "kube_gateway.cli.ai", "kube_gateway.cli.gateway"),
        ("kube_gateway.local.manager",),
        ("kube_gateway.watcher.run",),
    ],
)
def test_who_has_no_llm_calls_to_control_loads_nothing_for_it(modules):
    assert loaded(*modules) == []


def test_a_worker_with_ai_control_loads_no_telemetry_that_nobody_asked_for():
    found = loaded("kube_gateway.gateway.worker_calls")
    assert "kube_gateway.ai.engine" in found
    assert not [name for name in found if name.startswith("opentelemetry")]
