"""Sees to it that of several watchers one leads, and that another takes over soon when it dies or leaves.

The leader writes its name and the time into a Lease (coordination.k8s.io/v1) again and again; the others watch it doing
so. The rules are those of client-go's leaderelection, so `kubectl` and people read the Lease as they are used to:

- Nobody trusts another's clock. A candidate notes, by its own monotonic clock, since when the record has not changed.
- A leader that cannot renew stops leading before a candidate may think so: `renew_deadline` is less than `duration`, and
  both are counted from before the last write that succeeded was sent.
- Every write carries the resourceVersion that was read, so of two that take the Lease at once the server refuses one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec

from kube_gateway.errors import KubeGatewayError
from kube_gateway.kube.client import KubernetesClient, Metadata, decode
from kube_gateway.kube.refusals import Conflict, KubernetesError, NotFound

_log = logging.getLogger("watcher")

_ATTEMPTS = 3
"""Writes that are tried, each after another look, when others write at the same time."""

_HINT = "whoever leads now carries on; this one has to be started again, or to wait for its turn"


class LeadershipLost(KubeGatewayError):
    """We led, and may not go on: another leads, or the Lease could not be renewed in time."""


class LeaseSpec(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Who holds a Lease and since when. Times are RFC 3339 with microseconds, as its MicroTime demands."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A Lease of coordination.k8s.io/v1."""

    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"
    metadata: Metadata = Metadata()
    spec: LeaseSpec | None = None


class LeaderElection:
    """One candidate. `identity` must be of this process alone: whoever bears the holder's name leads.

    Times are seconds. `leader` is the holder last seen ('' for none) and `on_leader` is told when it changes.
    """

    def __init__(
        self,
        client: KubernetesClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        duration: float = 15.0,
        renew_deadline: float = 10.0,
        retry: float = 2.0,
        on_leader: Callable[[str], None] = lambda _: None,
    ) -> None:
        if not retry < renew_deadline < duration:
            raise ValueError("retry < renew_deadline < duration is needed, or two could lead at once")
        self._client = client
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self.on_leader = on_leader
        self._duration = duration
        self._renew_deadline = renew_deadline
        self._retry = retry
        self._leader = ""
        self._seen: Lease | None = None
        self._record: LeaseSpec | None = None
        self._stale = True
        self._ending: asyncio.Task[bool] | None = None
        self._unchanged_since = -math.inf
        self._renewed_at = -math.inf

    @property
    def leader(self) -> str:
        """The holder last seen; '' when there is none."""
        return self._leader

    async def run(self, lead: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait until we hold the Lease, then run `lead()` while renewing it; at its end the Lease is released.

        Raises `LeadershipLost` when we may not go on; `lead()` is cancelled and has ended by then. What `lead()` itself
        raises is let through. When this is cancelled, so is `lead()`, and the Lease is released after its end.
        """
        await self._acquire()
        leading = asyncio.create_task(lead())
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait((leading, renewing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # In a task of its own: time limits do not work in one that is being cancelled (before Python 3.12).
            self._ending = asyncio.create_task(self._step_down(leading, renewing))
            await asyncio.wait((self._ending,))
        if self._ending.result():
            leading.result()
        else:
            failure = None if leading.cancelled() else leading.exception()
            raise renewing.exception() or AssertionError from failure

    async def _acquire(self) -> None:
        loop = asyncio.get_running_loop()
        told = ""
        while True:
            try:
                held = await self._attempt()
            except KubernetesError as error:
                if error.message != told:
                    told = error.message
                    _log.warning(
                        "cannot see who leads: %s, trying again%s", error, f" ({error.hint})" * bool(error.hint)
                    )
            else:
                told = ""
                if held and loop.time() < self._renewed_at + self._renew_deadline:
                    return
            await asyncio.sleep(self._retry)

    async def _renew(self) -> NoReturn:
        """Renew as long as it goes. Raises `LeadershipLost`."""
        why = "no answer"
        try:
            async with asyncio.timeout_at(self._renewed_at + self._renew_deadline) as limit:
                while True:
                    await asyncio.sleep(self._retry)
                    try:
                        # A request that hangs must leave time for another.
                        async with asyncio.timeout(self._renew_deadline / 2):
                            held = await self._attempt()
                    except (KubernetesError, TimeoutError) as error:
                        why = str(error) or "no answer"
                        _log.warning("could not renew the leadership: %s", why)
                        continue
                    if not held:
                        raise LeadershipLost(f"{self._leader} leads now", hint=_HINT)
                    limit.reschedule(self._renewed_at + self._renew_deadline)
        except TimeoutError:
            message = f"could not renew the leadership for {self._renew_deadline:g} seconds: {why}"
            raise LeadershipLost(message, hint=_HINT) from None

    async def _step_down(self, leading: asyncio.Task[None], renewing: asyncio.Task[NoReturn]) -> bool:
        """End what runs; whether we held the Lease to the end, and so could release it."""
        # Renewing goes on meanwhile: `lead()` may have things to put in order, and nobody else may lead until then.
        await _end(leading)
        held = not renewing.done()
        await _end(renewing)
        if held:
            await self._release()
        return held

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(self._renew_deadline):
                for _ in range(_ATTEMPTS):
                    if self._stale:
                        await self._look()
                    if self._leader != self.identity:
                        return
                    with contextlib.suppress(Conflict, NotFound):
                        await self._write("")
                        return
        except (KubernetesError, TimeoutError) as error:
            _log.warning("the next leader has to wait %g seconds: could not release: %s", self._duration, error)

    async def _attempt(self) -> bool:
        """Take or renew the Lease if we may; whether we hold it now."""
        refused = 0
        while True:
            # The holder writes over its own last record without looking; the resourceVersion shows if it may.
            if self._stale:
                await self._look()
            if not self._is_ours_to_take():
                return False
            try:
                await self._write(self.identity)
            except (Conflict, NotFound):
                refused += 1
                if refused == _ATTEMPTS:
                    raise
            else:
                return True

    def _is_ours_to_take(self) -> bool:
        if self._leader in ("", self.identity):
            return True
        # The holder may have been started with a longer duration than we.
        theirs = (self._record and self._record.lease_duration_seconds) or 0
        unchanged = asyncio.get_running_loop().time() - self._unchanged_since
        return unchanged >= max(self._duration, theirs)

    async def _look(self) -> None:
        try:
            self._note(await self._client.get(f"{self._collection}/{self._name}", Lease))
        except NotFound:
            self._note(None)

    async def _write(self, holder: str) -> None:
        """Replace what was seen last by our record, or by that of a Lease released. Raises `Conflict`, `NotFound`."""
        # Until the answer is here, nobody knows what is in the Lease.
        self._stale = True
        sent = asyncio.get_running_loop().time()
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        seen = self._seen or Lease(metadata=Metadata(name=self._name, namespace=self._namespace))
        old = seen.spec or LeaseSpec()
        changes = (old.holder_identity or "") != holder
        taken = changes and bool(holder) and self._seen is not None
        spec = LeaseSpec(
            holder_identity=holder,
            lease_duration_seconds=math.ceil(self._duration) if holder else 1,
            acquire_time=now if changes else old.acquire_time,
            renew_time=now,
            lease_transitions=(old.lease_transitions or 0) + taken,
        )
        body = msgspec.structs.replace(seen, spec=spec)
        if self._seen is None:
            answer = await self._client.create(self._collection, body)
        else:
            answer = await self._client.replace(f"{self._collection}/{self._name}", body)
        self._note(decode(answer, Lease, what=f"update {self._collection}/{self._name}"))
        self._stale = not holder
        self._renewed_at = sent

    def _note(self, lease: Lease | None) -> None:
        record = lease.spec if lease else None
        if record != self._record:
            self._unchanged_since = asyncio.get_running_loop().time()
        self._seen, self._record = lease, record
        leader = (record and record.holder_identity) or ""
        if leader != self._leader:
            self._leader = leader
            _log.info("the leader is %s", f"{leader} (this one)" if leader == self.identity else leader or "nobody")
            self.on_leader(leader)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait((task,))
