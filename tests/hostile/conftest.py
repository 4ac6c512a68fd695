"""What tests of this folder share: figures that back the claims of docs/security.md."""

from __future__ import annotations

import os

import pytest

from hostile.ledger import Ledger, Row
from hostile.table import counted, merged, plain

_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


@pytest.fixture
def figures(request):
    """Note what this test has shown: `figures("A claim in plain words", inputs=1000, crashes=0)`.

    The claim is the same, word for word, as in docs/security.md. Names say the unit. What is counted is an int, and the
    table adds those of a test's parameters; what is measured is a float, and the table shows the greatest. Only what a test
    that passed has noted is kept. It may be called several times, with other numbers.
    """
    noted: dict[str, dict[str, int | float | str]] = {}

    def note(claim: str, **numbers: float | str) -> None:
        noted.setdefault(claim, {}).update(numbers)

    yield note
    if request.node.stash.get(_PASSED, False):
        assert noted, "a test that asks for `figures` notes some"
        test = request.node.nodeid.removeprefix("tests/")
        Ledger.of_this_run().add(Row(claim=claim, test=test, figures=figures) for claim, figures in noted.items())


def pytest_terminal_summary(terminalreporter):
    """Print the table where `make` asks for one: what this run has noted, and the core's tests before it."""
    ledger = Ledger.of_this_run()
    if "KUBE_GATEWAY_FIGURES" in os.environ and ledger.path.exists():
        rows = list(merged(ledger.rows()))
        terminalreporter.section("claims, tests and figures")
        for line in [*plain(rows), "", counted(rows)]:
            terminalreporter.write_line(line)
