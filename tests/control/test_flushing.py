"""What becomes of connections in clear, and how many are ended at a time."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.playbook import World
from kube_gateway.control.actions import Flush
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import peers_of
from kube_gateway.control.flush_plan import Standing, plan, standing_of
from kube_gateway.control.flushing import (
    CAUSES,
    MOST_A_SECOND,
    Allowance,
    Peer,
    ends_of,
    judge,
    judge_all,
    seconds_needed,
)
from kube_gateway.control.messages import Report
from kube_gateway.control.observed import Ended, Observed
from kube_gateway.model.flow import ClearConnection, GatewaySnapshot
from kube_gateway.model.settings import settings_from_annotations

OWN, PEER = "10.0.0.2", "10.0.0.3"


def settings(text):
    pairs = (word.partition("=") for word in text.split())
    return settings_from_annotations({f"kube-gateway.io/{key}": value for key, _, value in pairs})


def connection(number=1, *, local=OWN, remote=PEER, own_port=0, port=5432, **others):
    fields = {"relayed": False, "idle": 60.0, **others}
    return ClearConnection(
        cookie=number,
        local_address=local,
        local_port=own_port or 40000 + number,
        remote_address=remote,
        remote_port=port,
        **fields,
    )


ENCRYPTS = "encrypt=true netflush=true"
JUDGED = {
    "made anew it is encrypted": (ENCRYPTS, "encrypt=true", {}, "ends", "comes-back-encrypted"),
    "without netflush it is told what netflush=true would do": (
        "encrypt=true", "encrypt=true", {"idle": 0.0}, "ends", "comes-back-encrypted",
    ),
    "busy": ("encrypt=true netflush=idle", "encrypt=true", {"idle": 4.9}, "waits", "busy"),
    "idle long enough": ("encrypt=true netflush=idle", "encrypt=true", {"idle": 5.0}, "ends", "comes-back-encrypted"),
    "opted out here": (f"{ENCRYPTS} netflush-exclude-ports=5432", "encrypt=true", {}, "stays", "opted-out"),
    "opted out by its own port": (
        f"{ENCRYPTS} netflush-exclude-ports=9000", "encrypt=true", {"own_port": 9000, "port": 40001}, "stays", "opted-out",
    ),
    "opted out by the peer": (ENCRYPTS, "encrypt=true netflush-exclude-ports=5432", {}, "stays", "opted-out"),
    "of another address": (ENCRYPTS, "encrypt=true", {"local": "10.9.9.9"}, "stays", "not-own"),
    "without encryption": ("encrypt=false netflush=true", "encrypt=true", {}, "stays", "encryption-off"),
    "a peer without a gateway": (ENCRYPTS, None, {}, "stays", "peer-not-enrolled"),
    "a peer that is not ready": (ENCRYPTS, "starts", {}, "stays", "peer-not-ready"),
    "excluded": (f"{ENCRYPTS} exclude-ports=5432", "encrypt=true", {}, "stays", "not-captured"),
    "dialled by an endpoint": (f"{ENCRYPTS} endpoint=true", "encrypt=true", {}, "stays", "not-captured"),
    "excluded by the peer that dialled": (
        ENCRYPTS, "encrypt=true exclude-ports=9000", {"own_port": 9000, "port": 40001}, "stays", "peer-does-not-capture",
    ),
    "for its LLM calls": ("ai=true netflush=true", None, {"port": 443}, "ends", "comes-back-inspected"),
    "relayed, so its LLM calls are looked into": (
        "ai=true netflush=true", None, {"relayed": True}, "stays", "encryption-off",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", JUDGED)
def test_each_connection_is_judged(case):
    own, peer, fields, fate, cause = JUDGED[case]
    other = None
    if peer is not None:
        other = Peer(settings=settings("encrypt=true" if peer == "starts" else peer), ready=peer != "starts")
    found = judge(connection(**fields), addresses=(OWN,), settings=settings(own), peer=other)
    assert (found.fate, found.cause) == (fate, cause)


def test_all_causes_are_tried_and_explained():
    assert {cause for *_, cause in JUDGED.values()} == CAUSES.keys()


def enrolled(world, *names, **netflush):
    for name in names:
        world.happen(f"pod {name} encrypt=true netflush=true")
        world.happen(f"gateway {name} ready")
        world.happen(f"applied {name}")


def have(world, name, connections):
    world.change_gateway(name, clear_connections=tuple(connections))


def seen_from_the_other_end(connections):
    return [
        msgspec.structs.replace(
            each,
            local_address=each.remote_address,
            local_port=each.remote_port,
            remote_address=each.local_address,
            remote_port=each.local_port,
        )
        for each in connections
    ]


def ended_in(world, *, every=0.25, until=600.0):
    """What is decided as time goes by until nothing is left to do: time and ends of each connection."""
    found, quiet = [], 0
    while quiet < 8:
        assert world.now < until, "it does not come to an end"
        decided = [action for action in world.decide() if isinstance(action, Flush)]
        for action in decided:
            found += [(world.now, ends_of(each)) for each in action.connections]
        for action in decided:
            world.carry_out(action)
            forget(world, {ends_of(each) for each in action.connections})
        quiet = 0 if decided else quiet + 1
        world.now += every
    return found


def forget(world, ended):
    """What has ended has ended at both ends."""
    for name, pod in world.pods.items():
        have(world, name, [each for each in pod.gateway.clear_connections if ends_of(each) not in ended])


def most_within_a_second(found, name_of):
    """The most that ended within any second, of one `name_of`."""
    lately, counts, most = deque(), Counter(), Counter()
    for at, ends in found:
        lately.append((at, ends))
        counts.update(name_of(ends))
        while at - lately[0][0] >= 1.0:
            counts.subtract(name_of(lately.popleft()[1]))
        most |= counts
    return max(most.values())


def addresses(ends):
    return {address for address, _ in ends}


def pair(ends):
    return [frozenset(addresses(ends))]


def test_a_pool_of_500_is_not_cut_at_once():
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


def test_of_a_small_pool_one_is_ended_after_the_other():
    world = World()
    enrolled(world, "a", "b")
    have(world, "a", [connection(number) for number in range(1, 6)])
    times = [at for at, _ in ended_in(world)]
    assert [later - earlier for earlier, later in pairwise(times)] == [1.0] * 4


def test_many_clients_of_one_server_do_not_all_come_anew_at_once():
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


def test_the_idlest_is_ended_first():
    allowance = Allowance((), now=0.0)
    standing = [connection(number, idle=float(number)) for number in (3, 29, 7)]
    assert [each.cookie for each in allowance.take(standing)] == [29]


def test_what_was_ended_is_not_ended_again_while_old_reports_come_in():
    pool = [connection(number) for number in range(1, 3)]
    ended = Ended(ends=ends_of(pool[0]), at=10.0)
    assert Allowance((ended,), now=10.9).take(pool) == ()
    assert Allowance((ended,), now=11.0).take(pool) == (pool[1],)
    assert Allowance((ended,), now=15.0).take(pool[:1]) == (pool[0],), "it may not have come to that"


def test_a_clock_that_is_set_back_does_not_stop_it():
    ended = Ended(ends=ends_of(connection(1)), at=5000.0)
    assert Allowance((ended,), now=10.0).take([connection(1)]) == (connection(1),)


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


@given(pool=POOLS, own=OPTIONS, other=OPTIONS)
def test_whatever_stands_exactly_what_is_said_to_end_is_ended_and_never_too_fast(pool, own, other):
    world = World()
    world.happen(f"pod a encrypt=true {own if 'netflush=' in own else f'netflush=true {own}'}")
    world.happen(f"pod b encrypt=true {other}")
    for name in "ab":
        world.happen(f"gateway {name} ready")
        world.happen(f"applied {name}")
    have(world, "a", pool)
    observed = Observed(now=world.now, pods=tuple(world.pods.values()))
    said = plan(world.pods["a"], observed, standing=Standing(clear=len(pool)))
    ends = {ends_of(verdict.connection) for verdict in said.verdicts if verdict.fate == "ends"}
    found = ended_in(world)
    assert {each for _, each in found} == ends
    assert len(found) == len(ends)
    if found:
        assert most_within_a_second(found, addresses) <= MOST_A_SECOND
        assert most_within_a_second(found, pair) <= max(len(pool) // 10, 1)


def test_the_dry_run_says_what_is_done():
    world = World()
    world.happen("pod a encrypt=true netflush=true")
    world.happen("pod b encrypt=true")
    for name in "ab":
        world.happen(f"gateway {name} ready")
        world.happen(f"applied {name}")
    have(world, "a", [connection(1), connection(2, remote="203.0.113.1"), connection(3, port=80)])
    observed = Observed(now=world.now, pods=tuple(world.pods.values()))
    said = plan(world.pods["a"], observed, standing=Standing(encrypted=1, clear=5))
    assert said.causes == {"comes-back-encrypted": 2, "peer-not-enrolled": 1}
    assert said.verdicts == judge_all(world.pods["a"], settings("encrypt=true netflush=true"), peers_of(observed))
    assert (said.left_out, said.names, said.flush) == (2, {PEER: "default/b"}, "all")
    assert plan(world.pods["a"], observed, standing=Standing()) is not None
    world.happen("exits a 1")
    assert plan(world.pods["a"], observed, standing=Standing()) is None


def gateway(streams, clear, text="encrypt=true"):
    found = ConnectedGateway()
    found.applied = settings(text)
    found.report = Report(
        state="ready",
        settings_revision=1,
        certificate_expires=0.0,
        clear_connections=(),
        snapshot=GatewaySnapshot(counters={"streams_active": streams, "clear_standing": clear}),
    )
    return found


def test_the_share_is_100_percent_only_when_all_is_encrypted():
    assert standing_of(gateway(199, 1)).percent == 99
    assert standing_of(gateway(1, 0)).percent == 100
    assert standing_of(gateway(0, 0)).percent is None
    assert standing_of(ConnectedGateway()) == Standing()


def test_what_older_gateways_carry_on_counts():
    assert standing_of(gateway(3, 1), [gateway(5, 1)]) == Standing(encrypted=8, clear=1)


def test_tunnels_without_tls_are_in_clear():
    assert standing_of(gateway(3, 1, "encrypt=false")) == Standing(encrypted=0, clear=4)
