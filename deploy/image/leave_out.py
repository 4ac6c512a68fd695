"""Which files of a package the image goes without (leave-out.txt).

Patterns instead of a list of what to keep: a module that a new version of the product begins to use is there already.
"""

from __future__ import annotations

import functools
import re
from fnmatch import translate
from pathlib import Path

_FILE = Path(__file__).with_name("leave-out.txt")


def is_left_out(path: str) -> bool:
    """Whether the image goes without this file, given by its path in the image without the first slash."""
    verdict = False
    for takes_out, pattern in _patterns():
        if takes_out != verdict and pattern.match(path):
            verdict = takes_out
    return verdict


@functools.cache
def _patterns() -> tuple[tuple[bool, re.Pattern[str]], ...]:
    lines = (line.strip() for line in _FILE.read_text().splitlines())
    return tuple(
        (not line.startswith("!"), re.compile(translate(line.removeprefix("!"))))
        for line in lines
        if line and not line.startswith("#")
    )


def remove_left_out(tree: Path) -> None:
    """Remove what the image goes without from a directory that becomes a layer, and directories left empty by it."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif is_left_out(path.relative_to(tree).as_posix()):
            path.unlink()
