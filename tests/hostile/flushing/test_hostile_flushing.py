"""What `netflush` may do to connections, tried on many more than a test can open."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.flushing_scenes import (
    PEER,
    addresses,
    connection,
    ended_in,
    enrolled,
    have,
    most_within_a_second,
    pair,
    seen_from_the_other_end,
)
from control.playbook import World
from hostile.length import amount
from kube_gateway.control.flush_plan import Standing, plan
from kube_gateway.control.observed import Observed
from kube_gateway.control.pace import MOST_A_SECOND, ends_of, seconds_needed

PACE = "A pool is not cut at once: 20 connections a second at one address at most, one in ten between two"
HONEST = "`netflush` ends exactly what `flush --dry-run` says, each once, and nothing that would come back in clear"


def test_a_pool_of_500_is_not_cut_at_once(figures):
    world = World()
    enrolled(world, "a", "b")
    pool = [connection(number) for number in range(1, 501)]
    have(world, "a", pool)
    have(world, "b", seen_from_the_other_end(pool))
    found = ended_in(world)
    assert len(found) == len({ends for _, ends in found}) == 500, "each once, whichever side ends it"
    assert most_within_a_second(found, addresses) == MOST_A_SECOND
    took = found[-1][0] - found[0][0]
    assert 25 <= took <= 120
    assert took == pytest.approx(seconds_needed(pool), rel=0.3)
    figures(PACE, connections=500, most_a_second=MOST_A_SECOND, seconds=took)


def test_many_clients_of_one_server_do_not_all_come_anew_at_once(figures):
    world = World()
    enrolled(world, "server")
    server = world.pods["server"].pod.addresses[0]
    for number in range(40):
        name = f"client-{number}"
        enrolled(world, name)
        own = world.pods[name].pod.addresses[0]
        pool = [
            connection(number * 100 + each, local=own, remote=server, own_port=40000 + each) for each in range(1, 6)
        ]
        have(world, name, pool)
    found = ended_in(world)
    assert len(found) == 200
    assert most_within_a_second(found, addresses) == MOST_A_SECOND
    assert most_within_a_second(found, pair) == 1
    figures(PACE, clients=40, connections=200, most_a_second=MOST_A_SECOND)


POOLS = st.lists(
    st.builds(
        connection,
        st.integers(1, 10_000),
        remote=st.sampled_from((PEER, "10.0.0.4", "192.0.2.1")),
        port=st.sampled_from((5432, 6379, 45000)),
        idle=st.floats(0, 100),
        relayed=st.booleans(),
    ),
    max_size=60,
    unique_by=lambda each: each.cookie,
)
OPTIONS = st.sampled_from(
    ("", "netflush=idle", "netflush-exclude-ports=6379", "exclude-ports=5432", "endpoint=true", "podcidr=10.0.0.3/32")
)


def comes_back_encrypted(each, own, other):
    """Of the pods below, told anew: `a` has dialled all but those whose ports do not tell."""
    captured = own != "endpoint=true" and not (own == "exclude-ports=5432" and each.remote_port == 5432)
    captured = captured and not (own == "podcidr=10.0.0.3/32" and each.remote_address != PEER)
    unclear = each.remote_port == 45000
    return (
        each.remote_address == PEER and captured and not (unclear and other in {"endpoint=true", "podcidr=10.0.0.3/32"})
    )


def test_exactly_what_is_said_to_end_is_ended_and_never_too_fast(figures):
    tried = {"pools": 0, "connections": 0, "ended": 0}

    @settings(max_examples=amount(full=2000, short=150))
    @given(pool=POOLS, own=OPTIONS, other=OPTIONS)
    def each_pool(pool, own, other):
        world = World()
        world.happen(f"pod a encrypt=true {own if 'netflush=' in own else f'netflush=true {own}'}")
        world.happen(f"pod b encrypt=true {other}")
        for name in "ab":
            world.happen(f"gateway {name} ready")
            world.happen(f"applied {name}")
        have(world, "a", pool)
        observed = Observed(now=world.now, pods=tuple(world.pods.values()))
        said = plan(world.pods["a"], observed, standing=Standing(clear=len(pool)))
        ends = [verdict.connection for verdict in said.verdicts if verdict.fate == "ends"]
        found = ended_in(world)
        assert {each for _, each in found} == {ends_of(each) for each in ends}
        assert len(found) == len(ends)
        assert all(comes_back_encrypted(each, own, other) for each in ends)
        if found:
            assert most_within_a_second(found, addresses) <= MOST_A_SECOND
            assert most_within_a_second(found, pair) <= max(len(pool) // 10, 1)
        for name, number in (("pools", 1), ("connections", len(pool)), ("ended", len(found))):
            tried[name] += number

    each_pool()
    assert tried["ended"] > 0
    figures(HONEST, **tried, in_clear_again=0)
