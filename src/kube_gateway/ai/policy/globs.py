"""Globs for names of models, tools and endpoints: `*`, `?` and `[...]`, for whole names, in the case they are written."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=4096)
def _compiled(glob: str, flags: int) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(glob), flags)


def matches(glob: str, name: str, *, ignore_case: bool = False) -> bool:
    """Return whether `glob` is about `name`."""
    # However long a name is: what fnmatch makes of a glob never goes back behind a star.
    return _compiled(glob, re.IGNORECASE if ignore_case else 0).match(name) is not None


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
        negated = glob[position + 1 : position + 2] == "!"
        end = glob.find("]", position + 2 + negated)
        if character == "[" and end > 0:
            parts.append(_class(glob[position + 1 + negated : end], negated=negated))
            position = end + 1
            continue
        parts.append({"*": ".*", "?": "."}.get(character, re.escape(character)))
        position += 1
    return "".join(parts)


def _class(inner: str, *, negated: bool) -> str:
    """Return a class of characters. As with fnmatch, a range from a later to an earlier character holds nothing."""
    parts: list[str] = []
    position = 0
    while position < len(inner):
        if inner[position + 1 : position + 2] == "-" and position + 2 < len(inner):
            first, last = inner[position], inner[position + 2]
            if first <= last:
                parts.append(f"{_escaped(first)}-{_escaped(last)}")
            position += 3
        else:
            parts.append(_escaped(inner[position]))
            position += 1
    if not parts:
        return "." if negated else r"[^\s\S]"
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def _escaped(character: str) -> str:
    return f"\\{character}" if character in "\\^[]&~-" else character
