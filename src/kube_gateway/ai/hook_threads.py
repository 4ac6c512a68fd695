"""Threads that hooks run in: few, and none that anybody has to wait for at the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

_T = TypeVar("_T")
_Task = Callable[[], None]


class HookFailed(Exception):
    """A hook raised, took too long, or there was no thread left for it. The message holds nothing of the call."""


class HookThreads:
    """A bounded number of daemon threads, made when they are needed. One that hangs keeps its place."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy = 0
        self._made = 0
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[_Task] = SimpleQueue()

    def run(self, function: Callable[..., _T], *arguments: object, timeout: float) -> _T:
        """Run `function` and wait for at most `timeout` seconds. Raises `HookFailed`."""
        future = self._submit(function, *arguments)
        try:
            error = future.exception(timeout=timeout)
        except TimeoutError:
            raise HookFailed(f"it took longer than {timeout:g} s") from None
        if error is not None:
            # Also what ends a program, as SystemExit: it is not the hook's to end.
            raise HookFailed(f"it raised {type(error).__name__}")
        return future.result()

    def start(self, function: Callable[..., object], *arguments: object) -> None:
        """Run `function` and wait for nothing. Raises `HookFailed` if there is no thread left."""
        self._submit(function, *arguments)

    def _submit(self, function: Callable[..., _T], *arguments: object) -> Future[_T]:
        future: Future[_T] = Future()

        def task() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:
                self._free()
                future.set_exception(error)
            else:
                self._free()
                future.set_result(result)

        with self._lock:
            if self._busy >= self._most:
                raise HookFailed(f"all {self._most} threads for hooks are taken")
            self._busy += 1
            if self._made < self._busy:
                self._made += 1
                threading.Thread(target=self._work, name=f"ai-hook-{self._made}", daemon=True).start()
            self._tasks.put(task)
        return future

    def _work(self) -> None:
        while True:
            self._tasks.get()()

    def _free(self) -> None:
        with self._lock:
            self._busy -= 1
