"""The tasks of a gateway, by name: if one fails, the gateway does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Tasks:
    """`on_failure` is called with the error that a task ended with."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start one."""
        self._tasks[name] = task = asyncio.create_task(work)
        task.add_done_callback(self._task_ended)

    def stop(self, *names: str) -> None:
        """Cancel those of these that there are."""
        for name in names:
            if name in self._tasks:
                self._tasks[name].cancel()

    async def stop_all(self) -> None:
        """Cancel all and wait until they have ended."""
        self.stop(*self._tasks)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)
