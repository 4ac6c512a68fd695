"""Fixtures for tests of the line between gateways and a cluster's watcher."""

from __future__ import annotations

import pytest

from watcher.line_world import WEB, Watcher, context_of


@pytest.fixture(scope="session")
def web_context():
    """TLS with the right certificate of the pod shop/web."""
    return context_of(WEB)


@pytest.fixture
async def watcher():
    """A watcher that leads."""
    async with Watcher() as made:
        made.lead()
        yield made
