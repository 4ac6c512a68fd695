"""Each fault that is named in the documentation has tests, and they are there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "ai-pitfalls.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]


def test_all_faults_are_there():
    assert len(ROWS) == 27


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:50])
def test_a_fault_has_its_tests(row):
    *_, shown_by, _ = row.split("|")
    named = re.findall(r"`([\w/.]+)::(\w+)`", shown_by)
    assert named
    for path, test in named:
        assert re.search(rf"^(async )?def {test}\(", (TESTS / path).read_text(), re.MULTILINE), f"{path}::{test}"
