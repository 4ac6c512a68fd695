"""A length of time on the command line: 90s, 30m, 1h, 2d."""

from __future__ import annotations

import re

import click

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 30 * 86400.0


class Duration(click.ParamType[float]):
    """Seconds, between `shortest` and 30 days."""

    name = "duration"

    def __init__(self, *, shortest: float) -> None:
        self._shortest = shortest

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it, or fail with an example."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a length of time like 90s, 30m or 1h", param, ctx)
        seconds = float(match[1]) * _SECONDS[match[2]]
        if not self._shortest <= seconds <= _LONGEST:
            self.fail(f"{value} is not between {self._shortest:g}s and 30d", param, ctx)
        return seconds
