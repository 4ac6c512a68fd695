"""Keeps a copy of a collection of objects up to date: lists it once, then follows a watch for ever.

Asking the API server whenever something is to be decided would be slow and a burden for it. A copy is only worth
something if it cannot drift: so the watch goes on exactly where the last one ended, a version too old leads to a new list,
and what disappeared while nobody looked is found by comparing that list with the copy. (Kubernetes API Concepts,
'Efficient detection of changes'.)
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Generic, NoReturn, TypeVar

from kube_gateway.kube.client import KubernetesClient, KubernetesObject
from kube_gateway.kube.refusals import Forbidden, Gone, KubernetesError, rule_for

_log = logging.getLogger("watcher")

_TOO_MANY_REQUESTS = 429
_STEADY = 5.0
"""Seconds after which a watch that said nothing counts as one that worked."""

Object = TypeVar("Object", bound=KubernetesObject)


def key_of(item: KubernetesObject) -> str:
    """'namespace/name', or 'name' of what belongs to no namespace."""
    metadata = item.metadata
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else metadata.name


class Informer(Generic[Object]):
    """The copy is `store`, by 'namespace/name'. `on_change(key, object)` is told each change, with None for the vanished.

    `synced` is set when the store is complete for the first time; `fresh_at` is the monotonic time at which the server
    was last heard. `name` is what people read in the log. `large`: thousands of objects are expected.
    """

    def __init__(
        self,
        client: KubernetesClient,
        path: str,
        item: type[Object],
        *,
        on_change: Callable[[str, Object | None], None],
        parameters: Mapping[str, str] | None = None,
        name: str = "pods",
        pauses: tuple[float, float] = (0.2, 30.0),
        watch_seconds: float = 300.0,
        idle: float = 70.0,
        large: bool = True,
    ) -> None:
        self.store: dict[str, Object] = {}
        self.synced = asyncio.Event()
        self.fresh_at = -math.inf
        self._client = client
        self._path = path
        self._item = item
        self._on_change = on_change
        self._parameters = parameters
        self._name = name
        self._first_pause, self._longest_pause = pauses
        self._watch_seconds = watch_seconds
        self._idle = idle
        self._large = large
        self._version = ""
        self._out = False
        self._opened_at: float | None = None
        self._events = 0

    async def run(self) -> NoReturn:
        """Follow the collection until cancelled. What `on_change` raises is let through."""
        failures = 0
        while True:
            resuming = bool(self._version)
            self._opened_at, self._events = None, 0
            problem: KubernetesError | None = None
            try:
                if not resuming:
                    await self._list()
                await self._watch()
            except KubernetesError as error:
                problem = error
                if error.status not in (0, _TOO_MANY_REQUESTS):
                    # The server answers but not with events, so perhaps our version is the reason: begin anew.
                    self._version = ""
            # A broken or silent stream that worked before is nothing to speak of; not getting another one is.
            if self._worked() or (resuming and isinstance(problem, Gone)):
                failures = 0
                _log.debug("%s: the watch ended (%s)", self._name, problem or "as it should")
            else:
                failures += 1
                self._tell_once(problem)
            await asyncio.sleep(self._pause(failures, problem))

    async def _list(self) -> None:
        listing = await self._client.list(self._path, self._item, parameters=self._parameters)
        self._heard()
        found = {key_of(item): item for item in listing.items}
        for key in [key for key in self.store if key not in found]:
            self._remove(key)
        for key, item in found.items():
            self._put(key, item)
        self._version = listing.resource_version
        if not self.synced.is_set():
            # Thousands of objects that stay: each full run of the cyclic collector would look at all of them, and that
            # would soon be most of what this process does. They hold no cycles; counting references frees them.
            if self._large:
                gc.collect()
                gc.freeze()
            self.synced.set()
            _log.log(logging.INFO if self._large else logging.DEBUG, "%s: %d found", self._name, len(self.store))

    async def _watch(self) -> None:
        events = self._client.watch(
            self._path,
            self._item,
            resource_version=self._version,
            timeout=self._watch_seconds,
            idle=self._idle,
            parameters=self._parameters,
            heard=self._heard_watching,
        )
        async with contextlib.aclosing(events):
            async for event in events:
                self._events += 1
                if event.type == "DELETED":
                    self._remove(key_of(event.object))
                elif event.type != "BOOKMARK":
                    self._put(key_of(event.object), event.object)
                self._version = event.object.metadata.resource_version or self._version

    def _put(self, key: str, item: Object) -> None:
        known = self.store.get(key)
        if known is None or known.metadata.resource_version != item.metadata.resource_version:
            self.store[key] = item
            self._on_change(key, item)

    def _remove(self, key: str) -> None:
        if self.store.pop(key, None) is not None:
            self._on_change(key, None)

    def _heard(self) -> None:
        self.fresh_at = time.monotonic()

    def _heard_watching(self) -> None:
        self._heard()
        if self._opened_at is None:
            self._opened_at = self.fresh_at
        if self._out:
            self._out = False
            _log.info("%s: the API server is back", self._name)

    def _worked(self) -> bool:
        return self._events > 0 or (self._opened_at is not None and time.monotonic() - self._opened_at >= _STEADY)

    def _tell_once(self, problem: KubernetesError | None) -> None:
        """One line for an outage, however often we try."""
        if problem is None or self._out:
            return
        self._out = True
        if isinstance(problem, Forbidden):
            rule = rule_for(self._path, "get", "list", "watch")
            _log.error("%s: %s; the role needs the rule %s", self._name, problem.message, rule)
        else:
            _log.warning("%s: %s, trying again", self._name, problem.message)

    def _pause(self, failures: int, problem: KubernetesError | None) -> float:
        if isinstance(problem, Forbidden) and failures:
            pause = self._longest_pause  # until a person has done something
        else:
            pause = min(self._first_pause * 2.0 ** min(failures, 16), self._longest_pause)
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - so that not all clients of a server come back at once
        return max(pause, (problem and problem.retry_after) or 0.0)
