"""A hand-over between two gateways in one process: what each side does when the other is slow, false or dead."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from gateway.handover_older import Older
from gateway.handover_partners import gateway
from kube_gateway import _native
from kube_gateway.errors import HandoverError
from kube_gateway.gateway.handover import offering, partner, taking
from kube_gateway.gateway.handover.kernel import abstract_names
from kube_gateway.gateway.handover.kernel import own_cookie as own_cookie_of
from kube_gateway.gateway.handover.messages import Introduction, OfferedPolicy, SeenConnection
from kube_gateway.gateway.handover.older import OlderGateways
from kube_gateway.gateway.handover.succession import Succession
from kube_gateway.gateway.memory_file import make_memory_file, read_memory_file
from kube_gateway.model.ai_report import BudgetCount

pytestmark = pytest.mark.usefixtures("names_of_this_test")


async def test_everything_is_handed_over(authority):
    async with Older(gateway(authority, generation=1)) as older:
        inherited = await taking.take_over(gateway(authority, generation=2))
        assert inherited.generation == 1
        (listener,) = inherited.listeners["redirect"]
        assert listener.getsockname() == older.listener.getsockname()
        assert os.pread(inherited.maps["kgw_config"], 4, 0) == b"\0" * 4
        assert list(inherited.pipes) == [101]
        assert (inherited.makers, inherited.enrolled) == ((7,), ("10.0.0.9",))
        assert inherited.seen == (SeenConnection(cookie=2**63, age=7.5, older=True),)
        assert (older.successors, older.taken_over) == ([102], 0)
        await inherited.confirm()
        assert older.taken_over == 1
        # Its sockets are a gateway's own for as long as the older one lives, and nobody else can ask any more.
        assert older.offering.successor == 102
        await asyncio.sleep(0.05)
        assert abstract_names(offering.PREFIX) == []
        inherited.close()


async def test_maps_of_another_layout_are_not_handed_over(authority, monkeypatch):
    layouts = iter(["newer", "older", "older"])
    monkeypatch.setattr(_native, "hooks_layout", lambda: next(layouts))
    async with Older(gateway(authority, generation=1)):
        inherited = await taking.take_over(gateway(authority, generation=2))
        assert (inherited.maps, set(inherited.listeners)) == ({}, {"redirect"})
        inherited.close()


async def test_the_policy_for_llm_calls_is_handed_over(authority):
    file = make_memory_file("version: 1", name="policy")
    told = OfferedPolicy(
        source="its file", revision=3, hash_key=b"k" * 32, budgets=(BudgetCount(rule="day", window=9),)
    )
    async with Older(gateway(authority, generation=1), policy=(told, file)):
        inherited = await taking.take_over(gateway(authority, generation=2))
        got, text = inherited.policy
        assert got == told
        assert read_memory_file(text, most=100) == "version: 1"
        assert list(inherited.pipes) == [101]
        inherited.close()
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(text)
    os.close(file)


async def test_a_gateway_of_a_version_without_policies_is_given_none(authority, monkeypatch):
    async def introduce_as_before(channel, own):
        await channel.handshake()
        own_cookie, layout = own_cookie_of(channel.connection), _native.hooks_layout()
        await channel.send(Introduction(generation=own.generation, socket=own_cookie, cgroup=own.cgroup, layout=layout))
        return (await channel.receive())[0]

    monkeypatch.setattr(taking, "introduce", introduce_as_before)
    file = make_memory_file("version: 1", name="policy")
    told = OfferedPolicy(source="its file", revision=3, hash_key=b"k" * 32)
    async with Older(gateway(authority, generation=1), policy=(told, file)):
        inherited = await taking.take_over(gateway(authority, generation=2))
        assert inherited.policy is None
        assert list(inherited.pipes) == [101]
        inherited.close()
    os.close(file)


async def test_without_an_older_gateway_there_is_nothing_to_wait_for(authority):
    async with asyncio.timeout(0.5):
        assert await taking.take_over(gateway(authority, generation=2)) is None


@pytest.mark.parametrize("generation", [1, 2])
async def test_only_a_newer_gateway_gets_anything(authority, generation, caplog):
    caplog.set_level(logging.INFO)
    async with Older(gateway(authority, generation=2)) as older:
        for _ in range(2):
            with pytest.raises(HandoverError, match="there is generation 2 already"):
                await taking.take_over(gateway(authority, generation=generation))
        assert older.successors == []
    assert caplog.text.count("nothing is handed over") == 1


async def test_a_newer_gateway_that_dies_is_forgotten_and_the_next_one_gets_everything(authority, caplog):
    async with Older(gateway(authority, generation=1)) as older:
        inherited = await taking.take_over(gateway(authority, generation=2))
        inherited.close()
        await older.until(lambda: older.successors == [102, 0])
        assert "generation 2 has not taken over" in caplog.text
        second = await taking.take_over(gateway(authority, generation=3))
        await second.confirm()
        assert (older.successors, older.taken_over) == ([102, 0, 103], 1)
        second.close()


async def test_a_newer_gateway_that_is_slow_is_given_up(authority, caplog, monkeypatch):
    monkeypatch.setattr(offering, "_TAKEN_OVER_WITHIN", 0.2)
    async with Older(gateway(authority, generation=1)) as older:
        inherited = await taking.take_over(gateway(authority, generation=2))
        await older.until(lambda: older.successors == [102, 0])
        assert "it takes too long" in caplog.text
        with pytest.raises(OSError, match=r"closed|reset|Broken"):
            await inherited.confirm()
        assert older.taken_over == 0
        inherited.close()


async def test_there_is_one_hand_over_at_a_time(authority, caplog):
    async with Older(gateway(authority, generation=1)) as older:
        first = await taking.take_over(gateway(authority, generation=2))
        waiting = asyncio.create_task(taking.take_over(gateway(authority, generation=3)))
        await older.until(lambda: "waiting to take over: another hand-over is under way" in caplog.text)
        # The first one dies, and the one that waits gets everything.
        first.close()
        second = await waiting
        await second.confirm()
        assert (older.successors, older.taken_over) == ([102, 0, 103], 1)
        second.close()


async def test_there_are_no_more_gateways_than_the_hooks_can_know(authority, caplog):
    async with Older(gateway(authority, generation=3), cgroups=4) as older:
        waiting = asyncio.create_task(taking.take_over(gateway(authority, generation=4)))
        await older.until(lambda: "too many older gateways still have connections" in caplog.text)
        assert not waiting.done()
        del older.cgroups[104]
        inherited = await waiting
        assert list(inherited.pipes) == [101, 102, 103]
        inherited.close()


async def test_one_that_speaks_to_a_gateway_without_certificate_is_turned_away(authority):
    older = Older(None)
    async with older:
        assert await taking.take_over(gateway(authority, generation=2)) is None


def succession(own, changes, *, policy=None):
    return Succession(
        own=lambda: own,
        listeners=dict,
        maps=dict,
        enrolled=tuple,
        seen=tuple,
        policy=lambda: policy,
        authorization=lambda: None,
        revoked=tuple,
        on_change=lambda: changes.append(1),
        on_handed_over=lambda: None,
    )


async def test_an_older_gateway_that_has_died_does_not_stop_the_newer_one(authority, caplog):
    changes = []
    newer = succession(gateway(authority, generation=2), changes)
    async with Older(gateway(authority, generation=1)) as older:
        assert await newer.take_over() is not None
        assert (newer.others, newer.makers) == ((101,), (7,))
        older.task.cancel()
        os.close(older.held)
        await newer.confirm()
    assert "generation 1 has died in the middle" in caplog.text
    assert (newer.others, len(changes)) == ((), 1)


async def test_an_older_gateway_that_lives_and_does_not_yield_stops_the_newer_one(authority):
    newer = succession(gateway(authority, generation=2), [])
    async with Older(gateway(authority, generation=1)) as older:
        await newer.take_over()
        older.task.cancel()
        with pytest.raises(HandoverError, match="generation 1 does not yield"):
            await newer.confirm()
        assert newer.others == (101,)


async def test_a_third_gateway_hears_of_the_first(authority):
    second = succession(gateway(authority, generation=2), [])
    third_changes = []
    third = succession(gateway(authority, generation=3), third_changes)
    async with Older(gateway(authority, generation=1)) as first:
        await second.take_over()
        await second.confirm()
        task = asyncio.create_task(second.offer())
        await asyncio.sleep(0.05)
        assert await third.take_over() is not None
        await third.confirm()
        task.cancel()
        assert third.others == (102, 101)
        assert third.makers == (7, 102)
        os.close(first.held)
        await first.until(lambda: third.others == (102,))
        assert third_changes == [1]


async def test_what_is_no_offer_is_no_inheritance(authority, monkeypatch):
    async def refuse_to_introduce(*_):
        raise HandoverError("no")

    monkeypatch.setattr(partner, "introduce", refuse_to_introduce)
    async with Older(gateway(authority, generation=1)):
        assert await taking.take_over(gateway(authority, generation=2)) is None


async def test_the_end_of_an_older_gateway_is_noticed():
    gone = []
    older = OlderGateways(lambda: gone.append(older.cgroups))
    reading, writing = os.pipe()
    other, other_end = os.pipe()
    older.watch({5: reading, 6: other})
    assert (older.cgroups, older.pipes) == ((5, 6), (reading, other))
    os.close(writing)
    await asyncio.sleep(0.05)
    assert gone == [(6,)]
    os.close(other_end)
    await asyncio.sleep(0.05)
    assert older.cgroups == ()
