"""Globs for names of models, tools and endpoints: `*`, `?` and `[...]`, for whole names, in the case they are written."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob))


def matches(glob: str, name: str) -> bool:
    """Return whether `glob` is about `name`."""
    # However long a name is: what fnmatch makes of a glob never goes back behind a star.
    return _compiled(glob).match(name) is not None


def matches_any(globs: Iterable[str], name: str) -> bool:
    """Return whether one of `globs` is about `name`."""
    return any(matches(glob, name) for glob in globs)


def native_regex(globs: Iterable[str]) -> str:
    """Return the regular expression, in the native core's syntax, for what one of `globs` is about."""
    return "|".join(f"(?s:{_regex(glob)})" for glob in globs)


def _regex(glob: str) -> str:
    # fnmatch.translate makes groups that only Python knows.
    parts: list[str] = []
    position = 0
    while position < len(glob):
        character = glob[position]
        end = glob.find("]", position + 2)
        if character == "[" and end > 0:
            inner = glob[position + 1 : end]
            negated = inner.startswith("!")
            inner = "".join(
                one if one == "-" else f"\\{one}" if one in "\\^[]&~" else one for one in inner.removeprefix("!")
            )
            parts.append(f"[{'^' if negated else ''}{inner}]")
            position = end + 1
            continue
        parts.append({"*": ".*", "?": "."}.get(character, re.escape(character)))
        position += 1
    return "".join(parts)
