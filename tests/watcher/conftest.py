"""Fixtures for tests of a cluster's watcher."""

from __future__ import annotations

import pytest

from kube_gateway.watcher import cluster as cluster_module
from watcher.cluster_world import World
from watcher.line_world import WEB, Watcher, context_of
from watcher.simulated import hurry


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


@pytest.fixture
async def world(monkeypatch):
    """A cluster in small, in which pauses are short."""
    hurry(monkeypatch)
    made = World(1)
    yield made
    await made.end()


@pytest.fixture(autouse=True)
def short_outages(monkeypatch):
    """An API server that is back is noticed at once."""
    monkeypatch.setattr(cluster_module, "_PAUSES", (0.005, 0.05))
