"""When a worker that takes no new connections has finished."""

from __future__ import annotations

import asyncio
import time

from kube_gateway.gateway.drain import Drain, Load


async def drained(drain, loads):
    """What `wait` returns when the worker reports these loads, one each 50 ms; and how long it took."""
    now = Load()

    async def report():
        nonlocal now
        for number, active in enumerate(loads):
            now = Load(active=active, reports=number)
            await asyncio.sleep(0.05)

    reporting = asyncio.create_task(report())
    began = time.monotonic()
    left = await drain.wait(lambda: now)
    await reporting
    return left, time.monotonic() - began


async def test_it_ends_with_the_last_connection():
    left, _ = await drained(Drain(10), [2, 2, 1, 1, 0, 0, 0])
    assert left == 0


async def test_a_report_from_before_is_not_believed():
    left, took = await drained(Drain(10), [0, 0, 3, 3, 3, 3, 0, 0])
    assert (left, took >= 0.3) == (0, True)


async def test_it_ends_in_time_with_connections_left():
    left, took = await drained(Drain(0.3), [4] * 3)
    assert left == 4
    assert took < 1


async def test_it_can_be_shortened_and_not_prolonged():
    drain = Drain(60)
    drain.shorten(0.2)
    drain.shorten(60)
    left, took = await drained(drain, [1])
    assert left == 1
    assert took < 1
