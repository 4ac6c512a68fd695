"""What is done with Python files and compiled modules on their way into the image.

Byte code is compiled by the interpreter of the image itself, run from its directory through its own loader: that needs
neither root nor a chroot, and the version is right by construction. It is never checked against the source at start, since
nothing in an image changes, and holds no time of a file, which would differ with each build.

Source is kept for the product only, so that a traceback in a bug report shows its lines. Of others, a traceback names file,
function and line; their source would be a seventh of what a node has to pull, and half of the files it has to unpack.
"""

from __future__ import annotations

from pathlib import Path

from deploy.image.errors import BuildError, run

SITE = "usr/local/lib/python3.11/dist-packages"
"""Where Debian's Python looks for what its packages did not bring."""


def byte_compile(base: Path, tree: Path, directory: str, *, keep_source: bool) -> None:
    """Compile all modules below a directory of a tree, with the interpreter that is in `base`."""
    libraries = base / "usr/lib" / _multiarch(base)
    loader = next(libraries.glob("ld-linux*"))
    command: list[str | Path] = [loader, "--library-path", libraries, base / "usr/bin/python3.11", "-m", "compileall"]
    options: list[str | Path] = ["-q", "-j", "1", "-s", tree, "-p", "/", "--invalidation-mode", "unchecked-hash"]
    if not keep_source:
        options.append("-b")  # byte code without source has to be where the source was
    environment = {"PYTHONHOME": str(base / "usr"), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    run([*command, *options, tree / directory], hint="is the base layer complete?", environment=environment, cwd=tree)
    if not keep_source:
        for source in (tree / directory).rglob("*.py"):
            source.unlink()


def strip(tree: Path) -> None:
    """Take symbols that only a debugger reads out of compiled modules."""
    run(["strip", "--strip-unneeded", *tree.rglob("*.so")], hint="install binutils")


def _multiarch(base: Path) -> str:
    found = [path.parent.name for path in (base / "usr/lib").glob("*-linux-gnu/libc.so.6")]
    if len(found) != 1:
        raise BuildError("the base layer has no C library", hint="see deploy/image/packages.txt")
    return found[0]
