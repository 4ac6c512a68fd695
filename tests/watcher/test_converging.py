"""Whatever happens, in whatever order, with whatever lost: every pod comes to have what it asks for, and it is quiet."""

from __future__ import annotations

import asyncio

import pytest

from watcher.cluster_world import World, story
from watcher.simulated import hurry


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happened_the_cluster_comes_to_the_same_rest(seed, monkeypatch):
    hurry(monkeypatch)
    world = World(seed)
    world._replace_watchers(1)
    for _ in range(60):
        world.step()
        await asyncio.sleep(world.random.choice((0, 0, 0, 0.002, 0.01)))
    try:
        await world.settle()
        world.check()
        written = len(world.api.writes)
        looks = world.watchers[0].looks.total()
        await asyncio.sleep(0.1)
        assert len(world.api.writes) == written, "it writes although nothing changes"
        assert world.watchers[0].looks.total() - looks <= 6, "it looks again and again although nothing changes"
        assert written < 60 * 12
    except BaseException:
        print(story(world))
        raise
    finally:
        await world.end()
