"""What was sent in a period: nothing is lost or counted twice, and what is not known is told."""

from __future__ import annotations

import gc
import tracemalloc

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.gateway.sent_history import MINUTES_KEPT, MOST_PEERS_OF_A_SAMPLE, SECONDS_KEPT, SentHistory
from kube_gateway.model.sent import KINDS, REST, SentReport, SentTo

START = 1_800_000_000.0


class Pod:
    """A pod that sends, and the history of it."""

    def __init__(self, since: float = START) -> None:
        self.history = SentHistory()
        self.time, self.steady = since, 100.0
        self.since = since
        self.totals = dict.fromkeys(KINDS, 0)
        self.peers: dict[tuple[str, str], SentTo] = {}
        self.clear = 0

    def sends(self, amount: int, kind: str = "tunnel", to: str = "10.0.0.2") -> None:
        self.totals[kind] += amount
        before = self.peers.get((to, kind), SentTo(address=to, kind=kind, bytes=0))
        self.peers[to, kind] = msgspec.structs.replace(before, bytes=before.bytes + amount, packets=before.packets + 1)

    def passes(self, seconds: float = 1.0, *, clock_set_by: float = 0.0) -> None:
        """That time passes, then the counters are read."""
        self.steady += seconds
        self.time += seconds + clock_set_by
        read = SentReport(since=self.since, totals=dict(self.totals), peers=tuple(self.peers.values()))
        self.history.add(read, time=self.time, steady=self.steady, clear=self.clear)

    def restarts(self) -> None:
        """The next gateway has counters of its own."""
        self.totals = dict.fromkeys(KINDS, 0)
        self.peers = {}
        self.since = self.time


def test_nothing_is_known_before_the_first_reading():
    period = SentHistory().between(START, START + 10)
    assert period.gaps == ((START, START + 10),)
    assert sum(period.totals.values()) == 0
    assert (period.clear_now, period.clear_most) == (-1, -1)


def test_what_was_sent_before_the_first_reading_counts_from_when_counting_began():
    pod = Pod()
    pod.sends(500)
    pod.passes(3600)
    period = pod.history.between(START, pod.time)
    assert (period.totals["tunnel"], period.gaps) == (500, ())
    # A part of that hour is not known apart, so the period grows to all of it.
    period = pod.history.between(START + 1800, pod.time)
    assert (period.begin, period.totals["tunnel"]) == (START, 500)


def test_a_period_of_seconds_has_what_was_sent_in_these():
    pod = Pod()
    for second in range(10):
        pod.sends(10**second)
        pod.passes()
    period = pod.history.between(START + 3, START + 5)
    assert period.totals["tunnel"] == 10**3 + 10**4
    assert (period.begin, period.end, period.gaps) == (START + 3, START + 5, ())


def test_a_period_is_made_longer_to_whole_seconds_and_later_to_whole_minutes():
    pod = Pod()
    for _ in range(600):
        pod.sends(1)
        pod.passes()
    period = pod.history.between(pod.time - 1.5, pod.time)
    assert (period.begin, period.totals["tunnel"]) == (pod.time - 2, 2)
    period = pod.history.between(START + 90, START + 91)
    assert (period.begin, period.end, period.totals["tunnel"]) == (START + 60, START + 120, 60)


def test_what_lies_between_two_gateways_is_a_gap():
    pod = Pod()
    pod.sends(7)
    pod.passes(5)
    pod.time, pod.steady = pod.time + 30, pod.steady + 30
    pod.restarts()
    pod.sends(11)
    pod.passes(5)
    period = pod.history.between(START, pod.time)
    assert period.gaps == ((START + 5, START + 35),)
    assert period.totals["tunnel"] == 18


def test_counters_that_shrink_began_anew():
    pod = Pod()
    pod.sends(100)
    pod.passes(1)
    pod.totals, pod.peers = dict.fromkeys(KINDS, 0), {}
    pod.sends(3)
    pod.passes(1)
    assert pod.history.between(START, pod.time).totals["tunnel"] == 103


def test_a_clock_that_is_set_is_told_and_moves_nothing_out_of_sight():
    pod = Pod()
    for _ in range(5):
        pod.sends(1)
        pod.passes()
    pod.sends(1)
    pod.passes(clock_set_by=3600)
    for _ in range(5):
        pod.sends(1)
        pod.passes()
    whole = pod.history.between(START, pod.time)
    assert (whole.totals["tunnel"], whole.clock_steps) == (11, 1)
    assert whole.gaps == ((START + 5, START + 3605),)

    pod.sends(1)
    pod.passes(clock_set_by=-7200)
    pod.sends(1)
    pod.passes()
    assert pod.history.between(START - 7200, pod.time + 7200).totals["tunnel"] == 13


def test_the_most_connections_in_clear_are_remembered():
    pod = Pod()
    for pod.clear in (0, 5, 2):
        pod.passes()
    period = pod.history.between(START, pod.time)
    assert (period.clear_now, period.clear_most) == (2, 5)


def test_peers_are_added_up_by_address_and_kind():
    pod = Pod()
    for _ in range(3):
        pod.sends(10, "plain", "10.0.0.3")
        pod.sends(1, "udp", "10.0.0.3")
        pod.passes()
    peers = pod.history.between(START, pod.time).peers
    assert peers == (
        SentTo(address="10.0.0.3", kind="plain", bytes=30, packets=3),
        SentTo(address="10.0.0.3", kind="udp", bytes=3, packets=3),
    )


def test_of_many_peers_those_with_the_most_are_named_and_the_others_count_together():
    pod = Pod()
    for number in range(300):
        pod.sends(1000 - number, "plain", f"10.0.{number // 100}.{number % 100}")
    pod.passes()
    period = pod.history.between(START, pod.time)
    assert [peer.address for peer in period.peers[:2]] == ["10.0.0.0", "10.0.0.1"]
    assert len(period.peers) == MOST_PEERS_OF_A_SAMPLE + 1
    assert period.peers[-1].address == REST
    assert sum(peer.bytes for peer in period.peers) == period.totals["plain"]


def test_two_days_of_a_busy_pod_take_no_more_than_one_day_of_it():
    pod = Pod()
    sizes = []
    for day in range(2):
        for second in range(24 * 60 * 60 // 20):
            pod.sends(1, "plain", f"10.0.{day}.{second % 250}")
            pod.passes(20)
        sizes.append(len(pod.history._minutes) + len(pod.history._seconds))
    assert sizes == [MINUTES_KEPT + SECONDS_KEPT] * 2
    assert pod.history.between(START, pod.time).gaps[0][0] == START


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.integers(0, 10**6),
            st.sampled_from(["10.0.0.2", "10.0.0.3", "fd00::2"]),
            st.sampled_from([0.5, 1.0, 1.0, 1.0, 45.0]),
        ),
        max_size=400,
    )
)
def test_over_all_time_nothing_is_lost_or_counted_twice(sendings):
    pod = Pod()
    for kind, amount, to, seconds in sendings:
        pod.sends(amount, kind, to)
        pod.passes(seconds)
    period = pod.history.between(START, pod.time)
    assert period.totals == pod.totals
    assert sum(peer.bytes for peer in period.peers) == sum(pod.totals.values())
    assert period.gaps == ()


@given(st.data())
def test_any_period_has_at_least_what_was_sent_in_it(data):
    pod = Pod()
    sent = []
    for _ in range(data.draw(st.integers(1, 300))):
        amount = data.draw(st.integers(0, 100))
        pod.sends(amount)
        pod.passes()
        sent.append((pod.time, amount))
    begin = data.draw(st.floats(START, pod.time))
    end = data.draw(st.floats(begin, pod.time))
    period = pod.history.between(begin, end)
    assert period.totals["tunnel"] >= sum(amount for at, amount in sent if at - 1 >= begin and at <= end)
    assert period.begin <= begin
    assert period.end >= end


def test_what_was_sent_in_no_time_at_all_counts():
    pod = Pod()
    pod.sends(9)
    pod.passes(0)
    assert pod.history.between(START, START + 1).totals["tunnel"] == 9
    assert pod.history.between(START - 1, START).totals["tunnel"] == 9
    assert pod.history.between(START + 1, START + 2).totals["tunnel"] == 0


def test_a_day_of_a_pod_with_many_peers_takes_a_megabyte():
    tracemalloc.start()
    try:
        pod = Pod()
        for second in range(24 * 60 * 3):
            pod.peers.clear()
            for peer in range(30):
                pod.sends(1000 + peer, "plain", f"fd00:1234:5678:9abc:def0:1234:{second % 40000:x}:{peer:x}")
            pod.passes(20)
        # What is kept, and not what waits to be collected, which depends on when that was done last.
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(pod.history._minutes) == MINUTES_KEPT
    assert taken < 1024 * 1024
