"""One gateway for the tests of a file; each test has a policy of its own."""

from __future__ import annotations

import pytest
from intercepting_rig import Rig, running


@pytest.fixture(scope="module")
def shared_rig():
    with running() as rig:
        yield rig


@pytest.fixture
def rig(shared_rig: Rig):
    yield shared_rig
    shared_rig.core.set_policy(None)
