"""Budgets and rates hold, however calls run side by side, and whoever goes on with them."""

from __future__ import annotations

import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.ai.budget import Exhausted, Limit, Tokens
from kube_gateway.ai.meters.budgets import Ledger
from kube_gateway.model.ai_report import LARGEST_BUDGETS, MOST_MODELS, OTHER_MODELS, BudgetCount
from properties import cases

DAY = Limit(rule="day", kind="budget", window=86_400, tokens=100)
MINUTE = Limit(rule="minute", kind="rate", window=60, tokens=100)
CALLS = Limit(rule="calls", kind="rate", window=60, requests=3)


class Clock:
    def __init__(self, now=1_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(clock):
    return Ledger(clock=clock)


def tokens(given=0, output=0):
    return Tokens(input=given, output=output)


def reserve(ledger, limit, given, output, model="m"):
    return ledger.reserve(limit, model=model, estimate=tokens(given, output))


def only(ledger):
    (count,) = ledger.counts()
    return count


def test_what_is_reserved_is_gone_until_it_is_settled(ledger):
    first = reserve(ledger, DAY, 10, 50)
    assert first.output == 50
    second = reserve(ledger, DAY, 10, 50)
    assert second.output == 30  # what there was
    assert reserve(ledger, DAY, 0, 1) == Exhausted(what="tokens", allowed=100, retry_after=pytest.approx(36_800 + 0))
    first.settle(tokens(10, 5))
    assert reserve(ledger, DAY, 0, 100).output == 45


def test_a_call_whose_prompt_alone_is_too_long_reserves_nothing(ledger):
    assert isinstance(reserve(ledger, DAY, 100, 1), Exhausted)
    assert (only(ledger).used, only(ledger).reserved, only(ledger).made) == (0, 0, 0)
    assert reserve(ledger, DAY, 99, 1).output == 1


def test_what_was_used_beyond_what_was_reserved_counts_too(ledger):
    reserve(ledger, DAY, 10, 10).settle(tokens(10, 100))
    assert only(ledger).used == 110
    assert isinstance(reserve(ledger, DAY, 0, 1), Exhausted)


def test_settling_and_releasing_count_once(ledger):
    share = reserve(ledger, DAY, 10, 10)
    share.settle(tokens(5, 5))
    share.settle(tokens(50, 50))
    share.release()
    assert (only(ledger).used, only(ledger).reserved, only(ledger).made) == (10, 0, 1)


def test_a_call_that_was_not_sent_gives_its_request_back_too(ledger):
    shares = [reserve(ledger, CALLS, 5, 5) for _ in range(3)]
    assert isinstance(reserve(ledger, CALLS, 5, 5), Exhausted)
    shares[1].release()
    assert reserve(ledger, CALLS, 5, 5).output is None


@pytest.mark.parametrize(
    ("counts", "given", "output", "reserved", "most"),
    [("total", 30, 50, 80, 50), ("output", 30, 50, 50, 50), ("input", 30, 50, 30, None), ("total", 30, 0, 30, None)],
)
def test_a_rule_counts_what_it_says(ledger, counts, given, output, reserved, most):
    limit = msgspec.structs.replace(DAY, counts=counts)
    share = reserve(ledger, limit, given, output)
    assert (share.output, only(ledger).reserved) == (most, reserved)
    share.settle(tokens(7, 9))
    assert only(ledger).used == {"total": 16, "input": 7, "output": 9}[counts]


def test_a_budget_begins_anew_at_its_time_and_a_call_counts_where_it_began(ledger, clock):
    clock.now = 86_400 * 5 - 1.0
    late = reserve(ledger, DAY, 0, 100)
    refused = reserve(ledger, DAY, 0, 1)
    assert refused.retry_after == pytest.approx(1.0)
    clock.now += 1.0
    assert reserve(ledger, DAY, 0, 100).output == 100
    late.settle(tokens(0, 100))
    assert only(ledger).used == 0
    assert only(ledger).reserved == 100


def test_a_rate_recovers_as_time_goes_on(ledger, clock):
    reserve(ledger, MINUTE, 0, 60).settle(tokens(0, 60))
    clock.now += 30
    reserve(ledger, MINUTE, 0, 40).settle(tokens(0, 40))
    refused = reserve(ledger, MINUTE, 0, 1)
    assert 29.0 <= refused.retry_after <= 31.0
    clock.now += refused.retry_after
    assert reserve(ledger, MINUTE, 0, 100).output == 60


def test_a_rate_of_requests_tells_when_there_is_room(ledger, clock):
    for _ in range(3):
        assert not isinstance(reserve(ledger, CALLS, 1, 1), Exhausted)
        clock.now += 10
    refused = reserve(ledger, CALLS, 1, 1)
    assert (refused.what, refused.allowed) == ("requests", 3)
    assert 29.0 <= refused.retry_after <= 31.0
    clock.now += refused.retry_after
    assert not isinstance(reserve(ledger, CALLS, 1, 1), Exhausted)


def test_a_clock_that_is_set_back_gives_nothing_back(ledger, clock):
    reserve(ledger, DAY, 0, 100)
    clock.now -= 3600
    assert isinstance(reserve(ledger, DAY, 0, 1), Exhausted)


def test_each_model_has_a_counter_of_its_own_where_the_rule_says_so(ledger):
    limit = msgspec.structs.replace(DAY, per="model")
    assert reserve(ledger, limit, 0, 100, "a").output == 100
    assert reserve(ledger, limit, 0, 100, "b").output == 100
    assert isinstance(reserve(ledger, limit, 0, 1, "a"), Exhausted)
    assert reserve(ledger, DAY, 0, 100, "a").output == 100  # the pod's is another counter


def test_models_beyond_some_number_share_a_counter(ledger):
    limit = msgspec.structs.replace(DAY, per="model")
    for number in range(MOST_MODELS + 20):
        reserve(ledger, limit, 0, 1, f"model-{number}")
    counts = {count.model: count.reserved for count in ledger.counts()}
    assert len(counts) == MOST_MODELS + 1
    assert counts[OTHER_MODELS] == 20


def test_a_name_that_is_no_text_can_be_reported(ledger):
    limit = msgspec.structs.replace(DAY, per="model")
    reserve(ledger, limit, 0, 1, "\ud800" * 1000)
    assert msgspec.json.encode(ledger.counts())
    assert len(only(ledger).model) == 128


def test_another_version_of_a_rule_goes_on_with_what_was_counted(ledger):
    reserve(ledger, DAY, 0, 90).settle(tokens(0, 90))
    assert reserve(ledger, msgspec.structs.replace(DAY, tokens=200), 0, 200).output == 110


@pytest.mark.parametrize("limit", [DAY, MINUTE])
def test_who_goes_on_with_a_report_spends_nothing_twice(limit, clock):
    first = Ledger(clock=clock)
    reserve(first, limit, 10, 20).settle(tokens(10, 20))
    clock.now += 20
    reserve(first, limit, 0, 30)  # runs when its gateway is killed
    told = msgspec.json.decode(msgspec.json.encode(first.counts()), type=tuple[BudgetCount, ...])
    second = Ledger(clock=clock)
    second.restore(told)
    second.restore(told)
    assert (only(second).used, only(second).reserved, only(second).made) == (60, 0, 2)
    assert reserve(second, limit, 0, 100).output == 40
    second.restore(told)
    assert isinstance(reserve(second, limit, 0, 1), Exhausted)


def test_what_is_over_is_not_gone_on_with(clock):
    first = Ledger(clock=clock)
    reserve(first, MINUTE, 0, 100)
    told = first.counts()
    clock.now += 200
    second = Ledger(clock=clock)
    second.restore(told)
    assert reserve(second, MINUTE, 0, 100).output == 100
    assert first.counts() == ()


def test_a_report_is_bounded(clock):
    ledger = Ledger(clock=clock)
    for number in range(400):
        limit = Limit(rule=f"rule-{number}", kind="rate", window=60, tokens=10**9)
        for _ in range(60):
            reserve(ledger, limit, 0, 10**6)
            clock.now += 1
        clock.now -= 60
    clock.now += 60
    counts = ledger.counts()
    assert 100 < len(counts) < 400
    assert max(len(count.parts) for count in counts) <= 12
    assert len(msgspec.json.encode(counts)) <= LARGEST_BUDGETS + 2


@pytest.mark.parametrize("limit", [DAY, MINUTE])
def test_threads_never_reserve_more_than_there_is(limit):
    ledger = Ledger()
    granted, lock = [], threading.Lock()
    start = threading.Barrier(8)

    def take():
        start.wait()
        for number in range(200):
            share = reserve(ledger, limit, 1, 7)
            if isinstance(share, Exhausted):
                continue
            used = tokens(1, (number * 7) % (share.output + 1))
            with lock:
                granted.append(used.input + used.output)
            share.settle(used)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < sum(granted) <= 100
    (count,) = ledger.counts()
    assert (count.used, count.reserved) == (sum(granted), 0)


steps = st.lists(
    st.tuples(st.floats(0, 25), st.integers(0, 40), st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=60
)


@cases(1000)
@given(steps)
def test_within_no_window_of_time_is_more_counted_than_a_rate_allows(steps):
    clock = Clock()
    ledger = Ledger(clock=clock)
    taken, running = [], []
    for pause, given_, output, what in steps:
        clock.now += pause
        share = reserve(ledger, MINUTE, given_, output)
        if not isinstance(share, Exhausted):
            most = given_ + (share.output or 0)
            taken.append([clock.now, most])
            running.append((share, taken[-1], given_))
        if running and what:
            ended, entry, prompt = running.pop(0)
            used = tokens(prompt, max(entry[1] - prompt - what, 0))
            ended.settle(used)
            entry[1] = used.input + used.output
    for moment, _ in taken:
        assert sum(amount for when, amount in taken if moment <= when < moment + 60) <= 100
