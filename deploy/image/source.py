"""What the source says about itself: version, revision and time."""

from __future__ import annotations

import datetime
import os
import subprocess
import tomllib
from pathlib import Path

_PROJECT = "https://github.com/kube-gateway/kube-gateway"


def version(root: Path) -> str:
    """The version in pyproject.toml."""
    return str(_project(root)["version"])


def labels(root: Path, revision: str) -> dict[str, str]:
    """The labels by which an image is told from others."""
    project = _project(root)
    known = {
        "title": project["name"],
        "description": project["description"],
        "source": _PROJECT,
        "version": project["version"],
        "licenses": project["license"],
        "revision": revision,
    }
    return {f"org.opencontainers.image.{name}": str(value) for name, value in known.items() if value}


def time(root: Path) -> datetime.datetime:
    """When the image was made, as its inputs have it: SOURCE_DATE_EPOCH, else the last commit, else 1970."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or _git(root, "log", "-1", "--format=%ct") or 0)
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def revision(root: Path) -> str:
    """The commit, with `-dirty` if there are changes beside it; nothing outside of a repository."""
    commit = _git(root, "rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git(root, "status", "--porcelain") else commit


def _git(root: Path, *command: str) -> str:
    try:
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _project(root: Path) -> dict[str, object]:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert isinstance(project, dict)  # noqa: S101 - packaging would have failed before
    return project
