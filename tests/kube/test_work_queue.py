"""No key is lost, none is handled twice at once, and failures wait longer and longer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube_gateway.kube.refusals import KubernetesError
from kube_gateway.kube.work_queue import WorkQueue


@contextlib.asynccontextmanager
async def running(queue, handler, *, workers=4):
    task = asyncio.create_task(queue.run(handler, workers=workers))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_burst_is_one_look(until):
    queue, seen = WorkQueue(), []

    async def handler(key):
        seen.append(key)

    for _ in range(5):
        queue.add("a")
        queue.add("b")
    assert len(queue) == 2
    async with running(queue, handler):
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0.02)
    assert seen == ["a", "b"]


async def test_a_key_that_comes_while_it_is_handled_is_handled_again(until):
    queue, seen, go = WorkQueue(), [], asyncio.Event()

    async def handler(key):
        seen.append(key)
        await go.wait()

    async with running(queue, handler):
        queue.add("a")
        await until(lambda: seen)
        queue.add("a")
        queue.add("a")
        await asyncio.sleep(0.02)
        assert seen == ["a"]
        go.set()
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0.02)
    assert seen == ["a", "a"]


async def test_the_earliest_time_counts(until):
    queue, seen = WorkQueue(), []
    loop = asyncio.get_running_loop()

    async def handler(key):
        seen.append((key, loop.time()))

    began = loop.time()
    queue.add_after("a", 0.05)
    queue.add_after("a", 5)
    queue.add_after("b", 5)
    queue.add_after("b", 0.05)
    async with running(queue, handler):
        await until(lambda: len(seen) == 2)
        await asyncio.sleep(0.1)
    assert sorted(key for key, _ in seen) == ["a", "b"]
    assert all(0.045 <= at - began < 1 for _, at in seen)


async def test_look_again(until):
    queue, seen = WorkQueue(), []

    async def handler(key):
        seen.append(key)
        return 0.01 if len(seen) < 3 else None

    queue.add("a")
    async with running(queue, handler):
        await until(lambda: len(seen) == 3)
        await asyncio.sleep(0.05)
    assert len(seen) == 3


@pytest.mark.parametrize("error", [KubernetesError("no"), OSError("no"), TimeoutError()])
async def test_failures_back_off_and_success_forgets(until, error):
    queue, times = WorkQueue(first_retry=0.02), []
    loop = asyncio.get_running_loop()

    async def handler(_):
        times.append(loop.time())
        if len(times) < 4:
            assert queue.failures("a") == len(times) - 1
            raise error

    queue.add("a")
    async with running(queue, handler):
        await until(lambda: len(times) == 4)
        await asyncio.sleep(0.01)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[0] >= 0.019
    assert pauses[1] >= 0.039
    assert pauses[2] >= 0.079
    assert queue.failures("a") == 0


async def test_the_pause_has_a_limit_and_can_be_forgotten(until):
    queue, seen = WorkQueue(first_retry=0.001, longest_retry=0.002), []

    async def handler(key):
        seen.append(key)
        raise OSError("no")

    queue.add("a")
    async with running(queue, handler):
        await until(lambda: len(seen) >= 50)
    assert queue.failures("a") >= 49
    queue.forget("a")
    assert queue.failures("a") == 0


async def test_retry_after_is_kept():
    queue, seen = WorkQueue(first_retry=0.001), []

    async def handler(key):
        seen.append(key)
        raise KubernetesError("slowly", status=429, retry_after=5.0)

    queue.add("a")
    async with running(queue, handler):
        await asyncio.sleep(0.1)
    assert seen == ["a"]


async def test_a_bug_ends_it_and_the_key_stays():
    queue = WorkQueue()

    async def handler(key):
        raise RuntimeError(key)

    queue.add("a")
    async with asyncio.timeout(2):
        with pytest.raises(RuntimeError, match="a"):
            await queue.run(handler)
    assert len(queue) == 1


async def test_a_handler_that_waits_for_something_cancelled_is_a_bug():
    queue = WorkQueue()

    async def handler(_):
        sleeping = asyncio.create_task(asyncio.sleep(1))
        sleeping.cancel()
        await sleeping

    queue.add("a")
    async with asyncio.timeout(2):
        with pytest.raises(RuntimeError, match="handler of a"):
            await queue.run(handler)


async def test_what_was_handled_when_cancelled_is_handled_by_the_next(until):
    queue, seen = WorkQueue(), []

    async def hang(key):
        seen.append(key)
        await asyncio.sleep(10)

    queue.add("a")
    async with running(queue, hang):
        await until(lambda: seen)

    async def handler(key):
        seen.append(key)

    async with running(queue, handler):
        await until(lambda: len(seen) == 2)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add_after", "pause"]), st.sampled_from("abc"), st.sampled_from([0.0, 0.001, 0.003])
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, workers=st.integers(1, 4), fail_each=st.integers(2, 5))
def test_no_key_is_lost_and_none_is_handled_twice_at_once(steps, workers, fail_each):
    async def scenario():
        queue = WorkQueue(first_retry=0.0005, longest_retry=0.002)
        busy, calls = set(), Counter()
        wanted, seen = Counter(), Counter()

        async def handler(key):
            assert key not in busy
            busy.add(key)
            calls[key] += 1
            now = wanted[key]
            await asyncio.sleep(0.0005 * (calls[key] % 3))
            busy.discard(key)
            if calls[key] % fail_each == 0:
                raise OSError("again")
            seen[key] = now

        async with running(queue, handler, workers=workers) as task:
            for what, key, delay in steps:
                if what == "pause":
                    await asyncio.sleep(delay)
                else:
                    # What the handler has to have seen at the end: the state of the last change.
                    wanted[key] += 1
                    queue.add(key) if what == "add" else queue.add_after(key, delay)
            async with asyncio.timeout(3):
                while seen != wanted:
                    assert not task.done()
                    await asyncio.sleep(0.001)

    asyncio.run(scenario())
