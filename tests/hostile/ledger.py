"""The file that tests of hostile conditions write their figures to, one JSON object a line.

Lines are only ever appended: pytest and cargo write to it in one run, and what a test said last counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

_ROOT = Path(__file__).resolve().parents[2]
DEFAULT = _ROOT / "out" / "hostile" / "figures.jsonl"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one test has shown of a claim; it is named as in docs/security.md, `path/below/tests.py::name`."""

    claim: str
    test: str
    figures: dict[str, int | float | str]


@dataclass(frozen=True)
class Ledger:
    """Figures in a file."""

    path: Path

    @staticmethod
    def of_this_run() -> Ledger:
        """The one that `KUBE_GATEWAY_FIGURES` names, or out/hostile/figures.jsonl."""
        return Ledger(Path(os.environ.get("KUBE_GATEWAY_FIGURES") or DEFAULT))

    def add(self, rows: Iterable[Row]) -> None:
        """Append, in one write, so that lines of several processes do not mix."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            file.write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))

    def rows(self) -> list[Row]:
        """Everything noted, the last word of each test on each claim. Raises `OSError` and `msgspec.DecodeError`."""
        lines = self.path.read_bytes().splitlines()
        found = (msgspec.json.decode(line, type=Row) for line in lines)
        return list({(row.claim, row.test): row for row in found}.values())
