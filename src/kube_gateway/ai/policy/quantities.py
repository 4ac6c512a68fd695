"""Sizes and lengths of time as people write them: 64MiB, 90s, 1d."""

from __future__ import annotations

import re

_SIZES = {"": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{0,3})", re.ASCII)


def size_of(text: int | str) -> int:
    """Return bytes. Raises `ValueError` for what is no size."""
    return int(_value(text, _SIZES, "a size like 512KiB or 64MiB"))


def seconds_of(text: int | str) -> float:
    """Return seconds. Raises `ValueError` for what is no length of time."""
    return _value(text, _SECONDS, "a length of time like 500ms, 90s, 15m, 1h or 1d")


def _value(text: int | str, units: dict[str, int] | dict[str, float], wanted: str) -> float:
    found = _NUMBER.fullmatch(str(text))
    if found is None or found[2] not in units:
        raise ValueError(f"{text!r} is not {wanted}")
    value = float(found[1]) * units[found[2]]
    if value <= 0:
        raise ValueError(f"{text!r} is not more than 0")
    return value
