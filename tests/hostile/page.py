"""Writes what tests have counted into the table of docs/security.md, beside the claims that they back.

    python -m hostile.page [FILE]

Claims that are there stay in their order, and keep the figures that they have where no test has said anything newer; claims
that are not there yet are added at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hostile.ledger import Ledger, Row
from hostile.table import in_words, merged

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
HEAD = ("claim", "test", "figures")


def filled(page: str, rows: Iterable[Row]) -> str:
    """The page with the figures of `rows`. Raises `ValueError` when it has no table of claims."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.claim, []).append(row)
    lines = page.splitlines()
    first = next((at for at, line in enumerate(lines) if _cells(line)[:2] == HEAD[:2]), None)
    if first is None:
        raise ValueError("the page has no table that begins with claim and test")
    end = next((at for at in range(first, len(lines)) if not lines[at].startswith("|")), len(lines))
    table = [_line(HEAD), _line(["---"] * 3)]
    for line in lines[first + 2 : end]:
        claim, tests, before = (*_cells(line), "")[:3]
        table.append(_line((claim, tests, _figures(found.pop(claim, [])) or before)))
    for claim, of_claim in found.items():
        tests = ", ".join(f"`{row.test}`" for row in of_claim)
        table.append(_line((claim, tests, _figures(of_claim))))
    return "\n".join([*lines[:first], *table, *lines[end:]]) + "\n"


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|")) if line.startswith("|") else ()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figures(rows: Iterable[Row]) -> str:
    return "; ".join(in_words(row.figures) for row in rows)


def main() -> None:
    """Rewrite docs/security.md."""
    ledger = Ledger(Path(sys.argv[1])) if len(sys.argv) > 1 else Ledger.of_this_run()
    PAGE.write_text(filled(PAGE.read_text(), merged(ledger.rows())))


if __name__ == "__main__":
    main()
