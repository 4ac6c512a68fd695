"""Tasks by name."""

from __future__ import annotations

import asyncio

from kube_gateway.gateway.tasks import Tasks


async def test_a_failure_is_told_and_an_end_or_a_cancellation_is_not():
    failures = []
    tasks = Tasks(failures.append)

    async def fail():
        raise ValueError("why")

    tasks.run("fails", fail())
    tasks.run("ends", asyncio.sleep(0))
    tasks.run("runs", asyncio.sleep(60))
    tasks.stop("runs", "unknown")
    await asyncio.sleep(0.02)
    assert [str(error) for error in failures] == ["why"]
    assert "runs" in tasks
    assert "unknown" not in tasks


async def test_all_have_ended_when_they_are_stopped():
    ended = []
    tasks = Tasks(ended.append)

    async def slow_to_end():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append("ended")

    tasks.run("slow", slow_to_end())
    await asyncio.sleep(0)
    await tasks.stop_all()
    assert ended == ["ended"]
