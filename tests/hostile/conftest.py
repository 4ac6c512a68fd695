"""What tests of this folder share: figures that back the claims of docs/security.md."""

from __future__ import annotations

import pytest

from hostile.ledger import Ledger, Row

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

    The claim is the same, word for word, as in docs/security.md. Numbers are int, float or a few words; their names say the
    unit. Only what a test that passed has noted is kept. It may be called several times.
    """
    rows: list[Row] = []

    def note(claim: str, **numbers: float | str) -> None:
        rows.append(Row(claim=claim, test=request.node.nodeid.removeprefix("tests/"), figures=numbers))

    yield note
    if request.node.stash.get(_PASSED, False):
        assert rows, "a test that asks for `figures` notes some"
        Ledger.of_this_run().add(rows)
