"""`make demo-ai` tells its story, every step holds, and nothing is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ai.servers.ollama import LARGE

_ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.root
def test_the_story_holds():
    done = subprocess.run(
        [sys.executable, "-m", "demo.ai", "--instance", f"t{os.getpid()}xdemo"],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT / "tests")},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'"model": "{LARGE}"' in done.stdout
    assert "I know the word *** too." in " ".join(done.stdout.split())
    assert "aipod-py: kube-gateway says no" in done.stdout
    assert "All of it held" in done.stdout
