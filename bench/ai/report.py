"""The figures as a table and as data, and whether the limits hold."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.ai.measure import ROWS, Row

Samples = Mapping[str, Sequence[Mapping[str, float]]]
"""Candidate to rounds to rows, as measured."""

Figures = dict[str, dict[str, float]]
"""Candidate to row to median; of rows that say what is added, the added."""

GATEWAY = ("no rule", "1,000 words", "PII masks")
CANDIDATES = ("direct", *GATEWAY, "litellm")
_COMPARED = ("1 KB p50", "100 KB p50", "10 MB p50", "first p50", "event")
_TIMES_LESS = 10


class Verdict(NamedTuple):
    """A limit, what was found, and whether it holds."""

    what: str
    found: str
    holds: bool


def figures(samples: Samples) -> Figures:
    """Work out the medians. What a proxy adds is its figure less that of no proxy in the same round."""
    found: Figures = {}
    for name in CANDIDATES:
        found[name] = {}
        for row in ROWS:
            values = [taken[row.key] for taken in samples[name] if row.key in taken]
            if row.added and name != "direct":
                base = [taken[row.key] for taken in samples["direct"]]
                values = [value - without for value, without in zip(values, base, strict=True)]
            if values:
                found[name][row.key] = statistics.median(values)
    return found


def verdicts(found: Figures) -> list[Verdict]:
    """Say of each limit whether it holds."""
    limits = []
    for row in ROWS:
        for name in GATEWAY if row.limit is not None else ():
            value = found[name][row.key]
            what = f"{row.title}, {name}: at most {row.limit:g} {row.unit}"
            limits.append(Verdict(what, f"{value:.1f}", row.limit is not None and value <= row.limit))
    return limits + [_compared(row, found) for row in ROWS if row.key in _COMPARED]


def _compared(row: Row, found: Figures) -> Verdict:
    """LiteLLM looks at no text, so what it adds is held against the gateway without a rule."""
    ours, theirs = found["no rule"][row.key], found["litellm"][row.key]
    times = theirs / ours if ours > 0 else float("inf")
    what = f"{row.title}, no rule: {_TIMES_LESS} times less added than LiteLLM"
    return Verdict(what, f"{times:.0f} times", times >= _TIMES_LESS)


def table(found: Figures) -> str:
    """Lines of text: no proxy as measured, the others as what they add, where that has a meaning."""
    rows: list[tuple[str, ...]] = [("", "unit", "direct", *(f"+ {name}" for name in GATEWAY), "+ LiteLLM")]
    rows += [(_title(row), row.unit, *(_cell(found[name].get(row.key)) for name in CANDIDATES)) for row in ROWS]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(found: Figures) -> str:
    """The same for a page."""
    lines = [
        "| | unit | direct | no rule | 1,000 words | PII masks | LiteLLM |",
        "| --- | --- | --: | --: | --: | --: | --: |",
    ]
    for row in ROWS:
        cells = " | ".join(_cell(found[name].get(row.key)) for name in CANDIDATES)
        lines.append(f"| {_title(row)} | {row.unit} | {cells} |")
    return "\n".join(lines)


def _title(row: Row) -> str:
    return f"added: {row.title}" if row.added else row.title


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
