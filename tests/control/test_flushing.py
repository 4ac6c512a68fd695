"""What becomes of connections in clear, and how many are ended at a time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from control.flushing_scenes import OWN, PEER, connection, ended_in, enrolled, have, settings
from control.playbook import World
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.decide import peers_of
from kube_gateway.control.flush_plan import Standing, plan, standing_of
from kube_gateway.control.flushing import CAUSES, Peer, Peers, judge, judge_all
from kube_gateway.control.messages import Report
from kube_gateway.control.observed import Ended, Observed
from kube_gateway.control.pace import Allowance, ends_of
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.model.pod import Pod
from kube_gateway.model.service import Backend, ServiceBackends

NODE = "192.0.2.7"
POD = Pod(name="web", uid="1", addresses=(OWN,), probe_sources=(NODE,), probe_ports=(8080,))
ENCRYPTS = "encrypt=true netflush=true"
STRICT = "encrypt=strict netflush=true"
INBOUND = {"own_port": 9000, "port": 40001}
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
    "of a strict pod, which speaks to nobody else": (STRICT, None, {}, "ends", "strict"),
    "to a strict pod, by one who is not enrolled": (STRICT, None, INBOUND, "ends", "strict"),
    "to a strict pod, by one who would not encrypt it": (
        STRICT, "encrypt=true exclude-ports=9000", INBOUND, "ends", "strict",
    ),
    "of a strict pod, whose peer is not ready": (STRICT, "starts", {}, "stays", "peer-not-ready"),
    "to a strict pod, by one who is exempt": (f"{STRICT} exempt-sources=10.0.0.0/28", None, INBOUND, "stays", "exempt"),
    "a probe of a strict pod": (STRICT, None, {**INBOUND, "remote": NODE, "own_port": 8080}, "stays", "exempt"),
    "a probe of a strict pod, from its router": (
        STRICT, None, {**INBOUND, "own_port": 8080, "from_router": True}, "stays", "exempt",
    ),
    "of a strict pod's router, to a port that is not probed": (
        STRICT, None, {**INBOUND, "from_router": True}, "ends", "strict",
    ),
    "of a strict pod's node, to a port that is not probed": (STRICT, None, {**INBOUND, "remote": NODE}, "ends", "strict"),
    "of a strict pod, to one who is exempt": (f"{STRICT} exempt-sources=10.0.0.0/28", None, {}, "ends", "strict"),
    "excluded by a strict pod": (f"{STRICT} exclude-cidrs=10.0.0.0/28", None, {}, "stays", "not-captured"),
    "dialled by a strict endpoint": (f"{STRICT} endpoint=true", None, {}, "stays", "not-captured"),
    "to a strict endpoint": (f"{STRICT} endpoint=true", None, INBOUND, "ends", "strict"),
    "busy, of a strict pod": (f"{STRICT} netflush=idle", None, {"idle": 1.0}, "waits", "busy"),
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
    found = judge(connection(**fields), pod=POD, settings=settings(own), peer=other)
    assert (found.fate, found.cause) == (fate, cause)


def behind(**peers):
    """Who is at a Service's port 80, with these backends (on port 8080): annotations, or None for one without a gateway."""
    backends = tuple(Backend(address=f"10.1.0.{number}", port=8080) for number in range(len(peers)))
    pods = {
        backend.address: Peer(settings=settings(text.removeprefix("starts ")), ready=not text.startswith("starts"))
        for backend, text in zip(backends, peers.values(), strict=True)
        if text is not None
    }
    service = ServiceBackends(service="shop/db", backends=backends)
    return Peers(pods, {("10.96.0.1", 80): service}).at("10.96.0.1", 80)


@pytest.mark.parametrize(
    ("peers", "fate", "cause"),
    [
        ({"a": "encrypt=true", "b": "encrypt=strict"}, "ends", "comes-back-encrypted"),
        ({"a": "encrypt=true", "b": None}, "stays", "peer-not-enrolled"),
        ({"a": "encrypt=true", "b": "starts encrypt=true"}, "stays", "peer-not-ready"),
        ({"a": "encrypt=true", "b": "encrypt=true netflush-exclude-ports=8080"}, "stays", "opted-out"),
        ({"a": "encrypt=true netflush-exclude-ports=5432", "b": "encrypt=true"}, "ends", "comes-back-encrypted"),
        ({}, "stays", "peer-not-enrolled"),
    ],
)
def test_a_connection_to_a_service_ends_if_all_behind_it_encrypt(peers, fate, cause):
    to_service = connection(remote="10.96.0.1", port=80)
    found = judge(to_service, pod=POD, settings=settings(ENCRYPTS), peer=behind(**peers))
    assert (found.fate, found.cause) == (fate, cause)


def test_all_causes_are_tried_and_explained():
    assert {cause for *_, cause in JUDGED.values()} == CAUSES.keys()


def test_of_a_small_pool_one_is_ended_after_the_other():
    world = World()
    enrolled(world, "a", "b")
    have(world, "a", [connection(number) for number in range(1, 6)])
    times = [at for at, _ in ended_in(world)]
    assert [later - earlier for earlier, later in pairwise(times)] == [1.0] * 4


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
