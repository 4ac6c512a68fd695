"""Keeps Python's libraries within reach of a process that becomes nobody.

The worker imports some of its parts late, so that they cost nothing where they are not needed, and by then it may not be
allowed to read where Python is: a Python in root's home directory, say. A descriptor of a directory that was opened before
leads there all the same.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path


def open_libraries() -> dict[str, int]:
    """Open each directory that is searched for modules; to be called while that is allowed."""
    return {
        path: os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for path in sys.path
        if path and Path(path).is_dir()
    }


def use_libraries(opened: Mapping[str, int]) -> None:
    """Have modules be found below the opened directories that cannot be reached any more; the others are closed."""
    moved = {}
    for path, descriptor in opened.items():
        if os.access(path, os.R_OK | os.X_OK):
            os.close(descriptor)
        else:
            moved[path] = f"/proc/self/fd/{descriptor}"
    if not moved:
        return
    sys.path[:] = [moved.get(path, path) for path in sys.path]
    for module in list(sys.modules.values()):
        places = getattr(module, "__path__", None)
        if isinstance(places, list):
            places[:] = [_moved(place, moved) for place in places]
    importlib.invalidate_caches()


def _moved(place: str, moved: Mapping[str, str]) -> str:
    for path, other in moved.items():
        if place == path or place.startswith(f"{path}/"):
            return other + place[len(path) :]
    return place
