"""Which objects have to be looked at: each of them once, however often it changed, and never twice at the same time.

Level-triggered like client-go's work queue: a key says 'look', not what happened, so a burst of changes costs one look,
and a look that failed is simply repeated, later and later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from kube_gateway.kube.refusals import KubernetesError

_log = logging.getLogger("watcher")

Handler = Callable[[str], Awaitable[float | None]]
"""Looks at the object of a key and does what is to be done; returns in how many seconds to look again, if at all."""


class WorkQueue:
    """`add` keys, or `add_after` some seconds, and `run` a handler over them. For one event loop, not for threads."""

    def __init__(self, *, name: str = "pods", first_retry: float = 0.2, longest_retry: float = 60.0) -> None:
        self._name = name
        self._first_retry = first_retry
        self._longest_retry = longest_retry
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        # A key is in at most one of these two; `_again` is for those that came while they were handled.
        self._waiting: set[str] = set()
        self._handled: set[str] = set()
        self._again: set[str] = set()
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}

    def __len__(self) -> int:
        """How many keys wait for a worker."""
        return len(self._waiting)

    def add(self, key: str) -> None:
        """Have `key` looked at; once more if it is being looked at just now, as that look may have begun too early."""
        if key in self._handled:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: str, delay: float) -> None:
        """Have `key` looked at in `delay` seconds. Of several times the earliest counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + max(delay, 0.0)
        planned = self._later.get(key)
        if planned is not None:
            if planned.when() <= due:
                return
            planned.cancel()
        self._later[key] = loop.call_at(due, self._is_due, key)

    def failures(self, key: str) -> int:
        """How often in a row the handler failed for `key`."""
        return self._failures.get(key, 0)

    def forget(self, key: str) -> None:
        """Start anew with the failures of `key`."""
        self._failures.pop(key, None)

    async def run(self, handler: Handler, *, workers: int = 4) -> None:
        """Handle keys until cancelled.

        When the handler raises `KubernetesError` or `OSError`, the key is tried again after a growing pause. Anything
        else that it raises is a bug: it ends this and is let through. What was being handled then stays in the queue.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(handler))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _work(self, handler: Handler) -> None:
        while True:
            key = await self._ready.get()
            self._waiting.discard(key)
            self._handled.add(key)
            try:
                delay = await self._handle(handler, key)
            except BaseException:
                self._again.add(key)
                raise
            finally:
                self._handled.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)
            if delay is not None:
                self.add_after(key, delay)

    async def _handle(self, handler: Handler, key: str) -> float | None:
        try:
            delay = await handler(key)
        except (KubernetesError, OSError) as error:
            failures = self._failures[key] = self.failures(key) + 1
            pause = min(self._first_retry * 2.0 ** min(failures - 1, 32), self._longest_retry)
            pause = max(pause, getattr(error, "retry_after", None) or 0.0)
            _log.warning("%s %s: %s; trying again in %.1f s (failures: %d)", self._name, key, error, pause, failures)
            return pause
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and not task.cancelling():
                # Not we are cancelled but something that the handler waits for. A worker must not end of that unseen.
                raise RuntimeError(f"what the handler of {key} waited for was cancelled") from error
            raise
        self.forget(key)
        return delay

    def _is_due(self, key: str) -> None:
        del self._later[key]
        self.add(key)
