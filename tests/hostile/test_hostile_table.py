"""The table is what tests noted."""

from __future__ import annotations

import pytest

from hostile import table
from hostile.ledger import Ledger, Row
from hostile.page import filled

ROWS = [
    Row(claim="B holds", test="hostile/x.py::b", figures={"connections_held": 20_000, "p99_ratio": 1.25}),
    Row(claim="A holds", test="hostile/x.py::a", figures={"inputs": 2000, "crashes": 0, "cipher": "TLS13"}),
]


def test_the_last_word_of_a_test_counts(tmp_path):
    ledger = Ledger(tmp_path / "deep" / "figures.jsonl")
    ledger.add(ROWS)
    again = Row(claim="A holds", test="hostile/x.py::a", figures={"inputs": 1})
    ledger.add([again])
    assert sorted(ledger.rows(), key=lambda row: row.claim) == [again, ROWS[0]]


def test_the_table_in_plain_words_and_as_markdown():
    assert list(table.plain(ROWS)) == [
        "",
        "A holds",
        "    hostile/x.py::a",
        "        2,000 inputs, 0 crashes, cipher TLS13",
        "",
        "B holds",
        "    hostile/x.py::b",
        "        20,000 connections held, p99 ratio 1.25",
    ]
    assert list(table.markdown(ROWS))[2:] == [
        "| A holds | `hostile/x.py::a` | 2,000 inputs, 0 crashes, cipher TLS13 |",
        "| B holds | `hostile/x.py::b` | 20,000 connections held, p99 ratio 1.25 |",
    ]


def test_units_come_last():
    figures = {"p99_ms_before": 9.174, "grown_by_mib": 8.84, "seconds_at_most": 1200, "megabytes": 3.5, "of_kib": 3}
    assert table.in_words(figures) == ("p99 before 9.17 ms, grown by 8.84 MiB, at most 1,200 s, 3.5 MB, 3 of kib")


def test_parameters_of_a_test_are_one_row():
    rows = [
        Row(claim="C", test="hostile/x.py::c[one]", figures={"inputs": 2, "p99_ms": 3.5, "cipher": "a"}),
        Row(claim="C", test="hostile/x.py::c[two]", figures={"inputs": 3, "p99_ms": 1.5, "cipher": "b", "failed": 0}),
    ]
    figures = {"inputs": 5, "p99_ms": 3.5, "cipher": "b", "failed": 0}
    assert list(table.merged(rows)) == [Row(claim="C", test="hostile/x.py::c", figures=figures)]


def test_nothing_to_print_is_an_error(tmp_path, capsys):
    assert table.main([str(tmp_path / "none.jsonl")]) == 1
    assert "hint: make test-hostile" in capsys.readouterr().err


def test_the_page_keeps_its_claims_and_gets_their_figures():
    page = "# A page\n\n| claim | test |\n| --- | --- |\n| B holds | `hostile/x.py::b` |\n| Old | `o` |\n\n## Limits\n"
    assert filled(page, ROWS) == (
        "# A page\n\n"
        "| claim | test | figures |\n"
        "| --- | --- | --- |\n"
        "| B holds | `hostile/x.py::b` | 20,000 connections held, p99 ratio 1.25 |\n"
        "| Old | `o` |  |\n"
        "| A holds | `hostile/x.py::a` | 2,000 inputs, 0 crashes, cipher TLS13 |\n\n"
        "## Limits\n"
    )
    newer = [Row(claim="B holds", test="hostile/x.py::b", figures={"connections_held": 1})]
    again = filled(filled(page, ROWS), newer)
    assert "| B holds | `hostile/x.py::b` | 1 connections held |" in again
    assert "| A holds | `hostile/x.py::a` | 2,000 inputs, 0 crashes, cipher TLS13 |" in again


def test_a_page_without_a_table_is_an_error():
    with pytest.raises(ValueError, match="no table"):
        filled("# A page\n", ROWS)
