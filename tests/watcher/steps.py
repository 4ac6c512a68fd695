"""What tests of single pods do and look at, in the cluster of `cluster_world`."""

from __future__ import annotations

import asyncio

from watcher.made import TYPE, pod_body
from watcher.simulated import SimulatedWatcher


def watch(world, **options):
    watcher = SimulatedWatcher(world.api, **options)
    world.watchers.append(watcher)
    return watcher


async def rest(world, *, seconds=5.0):
    """Let kubelet and gateways do what they do until it is quiet."""
    async with asyncio.timeout(seconds):
        quiet = 0
        while quiet < 6:
            written = len(world.api.writes)
            moved = [key for key in list(world.api.objects["pods"]) if world.advance(key)]
            await asyncio.sleep(0.02)
            quiet = 0 if moved or len(world.api.writes) > written else quiet + 1
    for watcher in world.watchers:
        watcher.check()


def condition(world, name="web"):
    found = [
        one for one in world.api.objects["pods"][f"shop/{name}"]["status"].get("conditions", ()) if one["type"] == TYPE
    ]
    return (found[0]["status"], found[0]["reason"]) if found else None


def events(world):
    return [event["reason"] for event in world.api.events]


def annotate(world, name="web", **annotations):
    ours = pod_body(**annotations)["metadata"]["annotations"]
    world.api.change("pods", f"shop/{name}", lambda body: body["metadata"].update(annotations=ours))


def gateways(world, name="web"):
    return [one["name"] for one in world.api.objects["pods"][f"shop/{name}"]["spec"].get("ephemeralContainers", ())]
