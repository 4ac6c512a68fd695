"""Prints what tests of hostile conditions have shown: claim, test, figures.

    python -m hostile.table [--markdown] [FILE]

`--markdown` prints the rows as docs/security.md has them.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from hostile.ledger import Ledger, Row

_WIDTH = 120
_UNITS = {"ms": "ms", "s": "s", "seconds": "s", "mib": "MiB", "megabytes": "MB"}
"""Words of a figure's name that are its unit."""


def in_words(figures: dict[str, int | float | str]) -> str:
    """`2,000 inputs, 0 crashes`; a unit in a name comes last, so `p99_ms_before=3.2` is `p99 before 3.2 ms`."""
    return ", ".join(_figure(name.split("_"), value) for name, value in figures.items())


def _figure(words: list[str], value: int | float | str) -> str:
    unit = "".join(f" {_UNITS[word]}" for word in words if word in _UNITS)
    name = " ".join(word for word in words if word not in _UNITS)
    if isinstance(value, str):
        return f"{name} {value}"
    shown = f"{value:,.3g}" if isinstance(value, float) and abs(value) < 999.5 else f"{value:,.0f}"
    return f"{name} {shown}{unit}".lstrip() if unit or isinstance(value, float) else f"{shown} {name}"


def merged(rows: Iterable[Row]) -> Iterator[Row]:
    """One row a claim and test, whatever the test's parameters: counts (int) are added, of measures (float) the greatest
    is shown."""
    together: dict[tuple[str, str], dict[str, int | float | str]] = {}
    for row in rows:
        figures = together.setdefault((row.claim, row.test.partition("[")[0]), {})
        for name, value in row.figures.items():
            figures[name] = _both(figures[name], value) if name in figures else value
    for (claim, test), figures in together.items():
        yield Row(claim=claim, test=test, figures=figures)


def _both(one: int | float | str, other: int | float | str) -> int | float | str:
    if isinstance(one, str) or isinstance(other, str):
        return other
    return one + other if isinstance(one, int) and isinstance(other, int) else max(one, other)


def plain(rows: Iterable[Row]) -> Iterator[str]:
    """One paragraph a claim, so that it is readable in a log of any width."""
    for claim, shown in _by_claim(rows):
        yield ""
        yield from textwrap.wrap(claim, _WIDTH)
        for row in shown:
            yield f"    {row.test}"
            yield from textwrap.wrap(in_words(row.figures), _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)


def markdown(rows: Iterable[Row]) -> Iterator[str]:
    """A table of Markdown."""
    yield "| claim | test | figures |"
    yield "| --- | --- | --- |"
    for claim, shown in _by_claim(rows):
        of_claim = list(shown)
        tests = ", ".join(f"`{row.test}`" for row in of_claim)
        yield f"| {claim} | {tests} | {'; '.join(in_words(row.figures) for row in of_claim)} |"


def _by_claim(rows: Iterable[Row]) -> Iterator[tuple[str, Iterator[Row]]]:
    return groupby(sorted(rows, key=lambda row: (row.claim, row.test)), key=lambda row: row.claim)


def counted(rows: Iterable[Row]) -> str:
    """How many rows there are, and of how many claims."""
    known = list(rows)
    return f"{len({row.claim for row in known})} claims, {len(known)} tests"


def main(arguments: list[str]) -> int:
    """Return the exit code: 1 if there is nothing to print."""
    parser = argparse.ArgumentParser(prog="hostile.table", description="Print what tests have shown.")
    parser.add_argument("--markdown", action="store_true", help="as rows of docs/security.md")
    parser.add_argument("file", nargs="?", type=Path, default=Ledger.of_this_run().path)
    options = parser.parse_args(arguments)
    if not options.file.exists():
        print(f"error: no test has noted figures in {options.file}\nhint: make test-hostile", file=sys.stderr)
        return 1
    rows = list(merged(Ledger(options.file).rows()))
    for line in (markdown if options.markdown else plain)(rows):
        print(line)
    print(f"\n{counted(rows)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
