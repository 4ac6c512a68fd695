"""Each claim about security names tests, and these are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PAGES = (ROOT / "THREAT_MODEL.md", ROOT / "docs" / "security.md")
NAMED = re.compile(r"`([\w/.-]+)::(\w+)`")


def rows():
    """Rows of tables whose heading ends with a column of tests."""
    for page in PAGES:
        counts = False
        for line in page.read_text().splitlines():
            if not line.startswith("| "):
                counts = False
            elif re.search(r"\| (shown by|test) \|", line):
                counts = True
            elif counts and not line.startswith("| ---"):
                yield page.name, line


ROWS = list(rows())


def test_both_pages_make_claims():
    by_page = [sum(page == name for name, _ in ROWS) for page in ("THREAT_MODEL.md", "security.md")]
    assert min(by_page) >= 25, by_page


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[row.split("|")[1].strip()[:50] for _, row in ROWS])
def test_a_claim_has_its_tests(row):
    named = NAMED.findall(row)
    assert named
    for path, test in named:
        file = (ROOT if path.startswith("native/") else TESTS) / path
        defined = rf"fn {test}\(" if file.suffix == ".rs" else rf"^(async )?def {test}\("
        assert re.search(defined, file.read_text(), re.MULTILINE), f"{path}::{test}"
