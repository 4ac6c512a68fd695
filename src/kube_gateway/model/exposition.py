"""Counters, gauges and histograms in Prometheus' text format, and no more of it.

A client library would be a dependency of every gateway for what is a hundred lines. The number of series is bounded, as
some of their labels are names that applications choose: what is beyond the bound is counted under `(other)`.
Source: Prometheus, 'Exposition formats', text format 0.0.4.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_SERIES = 256
"""Of one family."""

OTHER = "(other)"


class Family:
    """One metric with its label names. Not for several threads at once: its owner has a lock."""

    def __init__(self, name: str, about: str, *, kind: Literal["counter", "gauge"], labels: Sequence[str] = ()) -> None:
        self.name, self.about, self.kind, self.labels = name, about, kind, tuple(labels)
        self._values: dict[tuple[str, ...], float] = {}

    def add(self, amount: float, *values: str) -> None:
        """Add to the series with these label values."""
        key = _series(values, self._values)
        self._values[key] = self._values.get(key, 0) + amount

    def set_all(self, values: Iterable[tuple[tuple[str, ...], float]]) -> None:
        """Put these series in the place of those that there are."""
        self._values = dict(values)

    def lines(self) -> Iterator[str]:
        """The family as it is served."""
        yield from _head(self.name, self.about, self.kind)
        for key, value in self._values.items():
            yield f"{self.name}{_labels(self.labels, key)} {_number(value)}"


class Histogram:
    """One histogram; `buckets` are upper bounds, ascending."""

    def __init__(self, name: str, about: str, *, buckets: Sequence[float], labels: Sequence[str] = ()) -> None:
        self.name, self.about, self.labels = name, about, tuple(labels)
        self._buckets = tuple(buckets)
        self._values: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *values: str) -> None:
        """Count one value in the series with these label values."""
        key = _series(values, self._values)
        counts, total = self._values.setdefault(key, ([0] * (len(self._buckets) + 1), [0.0]))
        counts[bisect.bisect_left(self._buckets, value)] += 1
        total[0] += value

    def lines(self) -> Iterator[str]:
        """The family as it is served."""
        yield from _head(self.name, self.about, "histogram")
        names = (*self.labels, "le")
        bounds = (*map(_number, self._buckets), "+Inf")
        for key, (counts, total) in self._values.items():
            for bound, count in zip(bounds, accumulate(counts), strict=True):
                yield f"{self.name}_bucket{_labels(names, (*key, bound))} {count}"
            yield f"{self.name}_sum{_labels(self.labels, key)} {_number(total[0])}"
            yield f"{self.name}_count{_labels(self.labels, key)} {sum(counts)}"


def exposition(families: Iterable[Family | Histogram]) -> bytes:
    """Return the page that Prometheus reads."""
    return "".join(f"{line}\n" for family in families for line in family.lines()).encode()


def _series(values: tuple[str, ...], known: Mapping[tuple[str, ...], object]) -> tuple[str, ...]:
    return values if values in known or len(known) < MOST_SERIES else (OTHER,) * len(values)


def _head(name: str, about: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
