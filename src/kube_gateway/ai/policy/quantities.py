"""Sizes and lengths of time as people write them: 64MiB, 90s, 1d."""

from __future__ import annotations

import re

_SIZES = {"": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LARGEST = 2**63 - 1
"""Bytes that the native core can count."""

_LONGEST = 36_500 * 86400.0
"""Seconds: a hundred years. What waits for so long, or counts for so long, can also be told so."""

_SHOWN = 60
_NUMBER = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{0,3})", re.ASCII)


def size_of(text: int | str) -> int:
    """Return bytes, 1 to 2^63 - 1. Raises `ValueError` for what is no size."""
    value = _value(text, _SIZES, "a size like 512KiB or 64MiB")
    if value < 1:
        raise ValueError(f"{text!r} is less than a byte")
    if value > _LARGEST:
        raise ValueError(f"{text!r} is more than can be counted: {_LARGEST} bytes at most")
    return int(value)


def seconds_of(text: int | str) -> float:
    """Return seconds, of a hundred years at most. Raises `ValueError` for what is no length of time."""
    value = _value(text, _SECONDS, "a length of time like 500ms, 90s, 15m, 1h or 1d")
    if value > _LONGEST:
        raise ValueError(f"{text!r} is more than a hundred years")
    return value


def _value(text: int | str, units: dict[str, int] | dict[str, float], wanted: str) -> float:
    found = _NUMBER.fullmatch(str(text))
    if found is None or found[2] not in units:
        shown = repr(text)
        raise ValueError(f"{shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'} is not {wanted}")
    value = float(found[1]) * units[found[2]]
    if value <= 0:
        raise ValueError(f"{text!r} is not more than 0")
    return value
