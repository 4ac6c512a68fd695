"""The table is what tests noted, and docs/security.md speaks of tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from hostile import table
from hostile.ledger import Ledger, Row

ROOT = Path(__file__).resolve().parents[2]
PAGES = [page for page in (ROOT / "THREAT_MODEL.md", ROOT / "docs" / "security.md") if page.exists()]
# `tests/folder/test_file.py::test_name` or `native/src/folder/file.rs::name`.
NAMED = re.compile(r"`((?:tests|native)/[\w/]+\.(?:py|rs))(?:::(\w+))?")

ROWS = [
    Row(claim="B holds", test="tests/x.py::b", figures={"connections_held": 20_000, "p99_ratio": 1.25}),
    Row(claim="A holds", test="tests/x.py::a", figures={"inputs": 2000, "crashes": 0, "cipher": "TLS13"}),
]


def test_the_last_word_of_a_test_counts(tmp_path):
    ledger = Ledger(tmp_path / "deep" / "figures.jsonl")
    ledger.add(ROWS)
    again = Row(claim="A holds", test="tests/x.py::a", figures={"inputs": 1})
    ledger.add([again])
    assert sorted(ledger.rows(), key=lambda row: row.claim) == [again, ROWS[0]]


def test_the_table_in_plain_words_and_as_markdown():
    assert list(table.plain(ROWS)) == [
        "",
        "A holds",
        "    tests/x.py::a",
        "        2,000 inputs, 0 crashes, cipher TLS13",
        "",
        "B holds",
        "    tests/x.py::b",
        "        20,000 connections held, p99 ratio 1.25",
    ]
    assert list(table.markdown(ROWS))[2:] == [
        "| A holds | `tests/x.py::a` | 2,000 inputs, 0 crashes, cipher TLS13 |",
        "| B holds | `tests/x.py::b` | 20,000 connections held, p99 ratio 1.25 |",
    ]


def test_nothing_to_print_is_an_error(tmp_path, capsys):
    assert table.main([str(tmp_path / "none.jsonl")]) == 1
    assert "hint: make test-hostile" in capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page):
    named = NAMED.findall(page.read_text())
    assert named, f"{page.name} names no test"
    missing = [f"{file}::{name}" for file, name in named if not _exists(ROOT / file, name)]
    assert not missing


def _exists(file: Path, name: str) -> bool:
    if not file.exists():
        return False
    text = file.read_text()
    if file.suffix == ".rs":
        return not name or re.search(rf"\bfn {name}\b", text) is not None
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return not name or name in {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)}
