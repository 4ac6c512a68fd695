"""The layers above Debian: the locked dependencies, and the product itself, which changes most often and comes last."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

from deploy.image.errors import BuildError, run
from deploy.image.leave_out import remove_left_out
from deploy.image.python import SITE, byte_compile, strip

UNUSED = ("rich",)
"""Declared by the product and imported by nothing in it; a test looks at each import of the product."""

_PLATFORMS = {"amd64": "x86_64-manylinux_2_36", "arm64": "aarch64-manylinux_2_36"}
_LAUNCHER = """\
#!/usr/bin/python3.11 -IuB
from kube_gateway.cli.main import main

main()
"""


def make_dependencies(root: Path, base: Path, tree: Path, architecture: str) -> None:
    """Install what uv.lock has, as wheels only, each checked against its hash."""
    uv = _uv()
    export = [uv, "export", "--quiet", "--locked", "--no-dev", "--no-emit-project", "--no-annotate", "--no-header"]
    pruned = [f"--prune={name}" for name in UNUSED]
    listed = tree.with_suffix(".requirements")
    listed.write_text(run([*export, *pruned], hint="run uv lock after a change of pyproject.toml", cwd=root))

    install = [uv, "pip", "install", "--quiet", f"--python={sys.executable}", f"--target={tree / SITE}"]
    which = [
        "--python-version=3.11",
        f"--python-platform={_platform(architecture)}",
        "--only-binary=:all:",
        "--no-deps",
    ]
    # A copy and not a link: files are changed below, and uv's cache is shared with other environments.
    how = ["--no-config", "--link-mode=copy", "--require-hashes", f"--requirements={listed}"]
    run([*install, *which, *how], hint="is the package index reachable?")
    _finish(base, tree, keep_source=False)


def make_product(wheel: Path, base: Path, tree: Path) -> None:
    """Unpack the wheel and add the command."""
    if not wheel.is_file():
        raise BuildError(f"there is no {wheel}", hint="run make wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree / SITE)
    launcher = tree / "usr/local/bin/kube-gateway"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(_LAUNCHER)
    launcher.chmod(0o755)
    _finish(base, tree, keep_source=True)


def only_wheel(directory: Path) -> Path:
    """The wheel that `make wheel` leaves."""
    found = sorted(directory.glob("kube_gateway-*.whl"))
    if len(found) != 1:
        raise BuildError(f"there are {len(found)} wheels in {directory}, not one", hint="run make wheel")
    return found[0]


def _finish(base: Path, tree: Path, *, keep_source: bool) -> None:
    remove_left_out(tree)
    strip(tree)
    byte_compile(base, tree, SITE, keep_source=keep_source)


def _platform(architecture: str) -> str:
    if architecture not in _PLATFORMS:
        raise BuildError(f"no image for {architecture}", hint=f"build on one of {', '.join(_PLATFORMS)}")
    return _PLATFORMS[architecture]


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise BuildError("uv is not installed", hint="run make build, or pip install uv")
    return found
