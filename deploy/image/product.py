"""The layers above Debian: the locked dependencies, and the product itself, which changes most often and comes last."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

from deploy.image.errors import BuildError, run
from deploy.image.leave_out import remove_left_out
from deploy.image.python import SITE, byte_compile, strip

_PLATFORMS = {"amd64": "x86_64-manylinux_2_36", "arm64": "aarch64-manylinux_2_36"}
_UV = Path(sys.executable).with_name("uv")
_EXPORT = ("--quiet", "--locked", "--no-dev", "--no-emit-project", "--no-annotate", "--no-header")
_INSTALL = (
    *("--quiet", "--no-config", "--no-deps", "--require-hashes", "--only-binary=:all:"),
    *("--python-version=3.11", "--requirements=-"),
    "--link-mode=copy",  # no links: files are changed afterwards, and uv's cache is shared with other environments
)
_LAUNCHER = """\
#!/usr/bin/python3.11 -IuB
from kube_gateway.cli.main import main

main()
"""


def make_dependencies(root: Path, base: Path, tree: Path, architecture: str) -> None:
    """Install what uv.lock has, as wheels only, each checked against its hash."""
    if architecture not in _PLATFORMS:
        raise BuildError(f"no image for {architecture}", hint=f"build on one of {', '.join(_PLATFORMS)}")
    locked = run([_UV, "export", *_EXPORT], hint="run uv lock after a change of pyproject.toml", cwd=root)
    where = [f"--target={tree / SITE}", f"--python={sys.executable}", f"--python-platform={_PLATFORMS[architecture]}"]
    run([_UV, "pip", "install", *_INSTALL, *where], hint="is the package index reachable?", text=locked)
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
