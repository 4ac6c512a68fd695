"""The servers, once for all tests of clients, and a program for each library."""

from __future__ import annotations

import os

import pytest

from ai.servers.world import World
from pods import Pods


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Both pods, with all servers up. The pod `client` has no gateway."""
    pods = Pods(f"t{os.getpid()}xclients")
    try:
        pods.up()
        world = World(pods, tmp_path_factory.mktemp("world"))
        try:
            world.start()
            yield world
        finally:
            world.stop()
    finally:
        pods.down()
