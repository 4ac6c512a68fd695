"""Ranges of numbers, both ends included, in order and without an overlap."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from operator import itemgetter

Ranges = Sequence[tuple[int, int]]


def covers(ranges: Ranges, number: int) -> bool:
    """Whether `number` is in one of them."""
    at = bisect.bisect_right(ranges, number, key=itemgetter(0))
    return at > 0 and number <= ranges[at - 1][1]
