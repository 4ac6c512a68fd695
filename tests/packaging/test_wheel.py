"""The wheel is all one needs: no compiler, no clang, no source."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A virtual environment with nothing but the wheel and what it needs."""
    environment = tmp_path_factory.mktemp("installed")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, wheel], check=True)
    return environment / "bin"


def bare(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run without a compiler in reach, away from the source."""
    environment = {"PATH": "/usr/sbin:/sbin", "HOME": os.environ.get("HOME", "/root")}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_wheel_serves_every_python_from_3_11_on(wheel):
    assert "-cp311-abi3-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "kube_gateway/_native.abi3.so" in names
    assert "kube_gateway/_native.pyi" in names
    assert "kube_gateway/py.typed" in names
    assert not [name for name in names if name.endswith((".c", ".rs", ".o"))]


def test_the_command_works(installed):
    done = bare(installed / "kube-gateway", "--version")
    assert done.stdout.startswith("kube-gateway "), done.stderr


def test_the_hooks_are_inside_and_the_kernel_takes_them(installed):
    text = "from kube_gateway._native import Hooks; print(set(Hooks().counters().values()))"
    done = bare(installed / "python", "-c", text)
    assert done.stdout == "{0}\n", done.stderr
