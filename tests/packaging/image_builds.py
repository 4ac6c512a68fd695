"""Building the image, and running programs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploy.image import oci

ROOT = Path(__file__).resolve().parents[2]
TAG = "1.2.3"
NAME = f"registry.test:5000/team/kube-gateway:{TAG}"
EPOCH = 1_700_000_000
PYTHON = "/usr/bin/python3"


def run_builder(*options: str | Path, umask: int = 0o022, **environment: str):
    command = [sys.executable, "-m", "deploy.image", "--name", NAME, "--revision", "abc", *options]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **environment}
    return subprocess.run(command, cwd=ROOT, env=environment, umask=umask, capture_output=True, text=True, check=False)


def inside(root: Path, *command: str, user: str = "0:0") -> subprocess.CompletedProcess[str]:
    """Run a program in the image, with /proc and /sys as a container has them."""
    environment = {**oci.ENVIRONMENT, "PATH": os.environ["PATH"]}
    namespaces = ["unshare", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc"]
    mounted = ["sh", "-c", 'mount --rbind /sys "$0/sys" && exec "$@"', root]
    run = [*namespaces, *mounted, "chroot", f"--userspec={user}", root, *command]
    return subprocess.run(run, env=environment, capture_output=True, text=True, check=False, timeout=60)
