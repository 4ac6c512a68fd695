"""One leads, never two; the next one takes over when it should and not before."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest

from kube_gateway.kube.lease import LeaderElection, LeadershipLost

# Long enough that a busy machine does not cost anybody the lead.
KEPT = {"namespace": "kgw", "name": "watcher", "duration": 3.0, "renew_deadline": 2.0, "retry": 0.03}


class Candidate:
    def __init__(self, client, identity, *, stage=None, **options):
        self.leaders = []
        self.leading = False
        self.ended = asyncio.Event()
        self.stage = stage if stage is not None else []
        self.wind_down = 0.0
        options = {**KEPT, **options}
        self.election = LeaderElection(client, identity=identity, on_leader=self.leaders.append, **options)
        self.task = asyncio.create_task(self.election.run(self.lead))

    async def lead(self):
        self.stage.append(self)
        assert len(self.stage) == 1, "two lead at once"
        self.leading = True
        try:
            await asyncio.sleep(60)
        finally:
            if self.wind_down:
                await asyncio.sleep(self.wind_down)
            self.leading = False
            self.stage.remove(self)
            self.ended.set()

    async def stop(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LeadershipLost):
            await self.task


@pytest.fixture
async def candidate(client):
    all_of_them = []

    def start(identity, **options):
        all_of_them.append(Candidate(options.pop("client", client), identity, **options))
        return all_of_them[-1]

    yield start
    for one in all_of_them:
        await one.stop()


def lease_of(cluster):
    return cluster.objects["lease watcher"]["spec"]


async def test_the_first_creates_the_lease_and_renews_it(cluster, candidate, until):
    one = candidate("one")
    await until(lambda: one.leading)
    first = lease_of(cluster)
    assert first["holderIdentity"] == "one"
    assert first["leaseDurationSeconds"] == 3
    assert first["leaseTransitions"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first["renewTime"])
    await until(lambda: len(cluster.lease_writes) > 3)
    assert lease_of(cluster)["acquireTime"] == first["acquireTime"]
    assert lease_of(cluster)["renewTime"] > first["renewTime"]
    assert one.election.leader == "one"
    assert one.leaders == ["one"]
    # Once it leads it writes without reading.
    assert [request.method for request in cluster.requests[:4]] == ["GET", "POST", "PUT", "PUT"]


async def test_leaving_releases_and_the_standby_follows_at_once(cluster, candidate, until):
    one = candidate("one")
    await until(lambda: one.leading)
    two = candidate("two")
    await until(lambda: two.leaders == ["one"])
    await asyncio.sleep(0.1)
    assert not two.leading
    await one.stop()
    assert one.ended.is_set()
    released = [spec for spec in cluster.lease_writes if spec.get("holderIdentity") == ""]
    assert [spec["leaseDurationSeconds"] for spec in released] == [1]
    # Sooner than it could by the clock.
    await until(lambda: two.leading, 2.0)
    assert lease_of(cluster)["leaseTransitions"] == 1
    assert two.leaders[-1] == "two"


async def test_a_dead_leader_is_followed_after_its_time_by_our_clock(cluster, candidate, until):
    loop = asyncio.get_running_loop()
    cluster.objects["lease watcher"] = {
        "metadata": {"name": "watcher", "namespace": "kgw", "resourceVersion": "1", "labels": {"a": "b"}},
        "spec": {
            "holderIdentity": "dead",
            "leaseDurationSeconds": 1,
            "acquireTime": "1999-01-01T00:00:00.000000Z",  # its clock is of no interest
            "renewTime": "1999-01-01T00:00:00.000000Z",
            "leaseTransitions": 4,
        },
    }
    began = loop.time()
    one = candidate("one", duration=0.5, renew_deadline=0.3)
    await until(lambda: one.leading)
    assert loop.time() - began >= 1.0
    assert lease_of(cluster)["leaseTransitions"] == 5
    assert cluster.objects["lease watcher"]["metadata"]["labels"] == {"a": "b"}
    assert one.leaders == ["dead", "one"]


async def test_who_cannot_renew_stops_before_another_may_lead(cluster, candidate, until, serve):
    stage = []
    cut_off = False

    async def mine(request):
        if cut_off:
            await asyncio.sleep(5)
        return await cluster.handle(request)

    one = candidate("one", stage=stage, client=await serve(mine, request_timeout=0.1), renew_deadline=1.0)
    await until(lambda: one.leading)
    two = candidate("two", stage=stage, renew_deadline=1.0)
    cut_off = True
    began = asyncio.get_running_loop().time()
    with pytest.raises(LeadershipLost, match=r"could not renew the leadership for 1 seconds"):
        async with asyncio.timeout(4):
            await one.task
    assert one.ended.is_set()
    assert asyncio.get_running_loop().time() - began < 2.7
    assert not two.leading
    await until(lambda: two.leading)


async def test_a_short_outage_is_survived(cluster, candidate, until):
    one = candidate("one")
    await until(lambda: one.leading)
    cluster.refusal = (500, "InternalError")
    await asyncio.sleep(0.15)
    cluster.refusal = None
    await asyncio.sleep(0.4)
    assert one.leading


async def test_another_holder_ends_it(cluster, candidate, until):
    one = candidate("one")
    await until(lambda: one.leading)
    lease = cluster.objects["lease watcher"]
    cluster.version += 1
    lease["metadata"]["resourceVersion"] = str(cluster.version)
    lease["spec"]["holderIdentity"] = "usurper"
    with pytest.raises(LeadershipLost, match="usurper leads now"):
        async with asyncio.timeout(2):
            await one.task
    assert one.ended.is_set()
    assert lease_of(cluster)["holderIdentity"] == "usurper"
    assert one.leaders == ["one", "usurper"]


async def test_a_conflict_with_somebody_else_s_edit_is_no_loss(cluster, candidate, until):
    one = candidate("one")
    await until(lambda: one.leading)
    for _ in range(3):
        cluster.version += 1
        lease = cluster.objects["lease watcher"]
        lease["metadata"] = {**lease["metadata"], "resourceVersion": str(cluster.version), "labels": {"by": "hand"}}
        await asyncio.sleep(0.1)
    assert one.leading
    assert cluster.objects["lease watcher"]["metadata"]["labels"] == {"by": "hand"}


async def test_a_deleted_lease_is_made_again(cluster, candidate, until):
    one = candidate("one")
    await until(lambda: one.leading)
    del cluster.objects["lease watcher"]
    await until(lambda: "lease watcher" in cluster.objects)
    assert one.leading


async def test_nobody_else_leads_while_the_leader_winds_down(cluster, candidate, until):
    stage = []
    one = candidate("one", stage=stage)
    one.wind_down = 3.5
    await until(lambda: one.leading)
    two = candidate("two", stage=stage)
    await until(lambda: two.leaders)
    stopping = asyncio.create_task(one.stop())
    while not one.ended.is_set():
        assert not two.leading
        await asyncio.sleep(0.01)
    await stopping
    await until(lambda: two.leading, 2.0)


async def test_release_finds_a_lease_that_was_edited(cluster, candidate, until):
    one = candidate("one", retry=0.2)
    await until(lambda: one.leading)
    cluster.version += 1
    cluster.objects["lease watcher"]["metadata"]["resourceVersion"] = str(cluster.version)
    await one.stop()
    assert lease_of(cluster)["holderIdentity"] == ""


async def test_leaving_with_the_server_away_ends_all_the_same(cluster, candidate, until):
    one = candidate("one")
    await until(lambda: one.leading)
    cluster.refusal = (500, "InternalError")
    async with asyncio.timeout(1):
        await one.stop()
    assert one.ended.is_set()


async def test_what_lead_raises_is_let_through_and_the_lease_released(cluster, client):
    async def lead():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await LeaderElection(client, identity="one", **KEPT).run(lead)
    assert lease_of(cluster)["holderIdentity"] == ""


async def test_a_lead_that_returns_releases_too(cluster, client):
    async def lead():
        pass

    await LeaderElection(client, identity="one", **KEPT).run(lead)
    assert lease_of(cluster)["holderIdentity"] == ""


async def test_waiting_for_the_server_is_told_once(cluster, candidate, until, caplog):
    cluster.refusal = (403, "Forbidden", "leases is forbidden")
    one = candidate("one")
    await until(lambda: len(cluster.requests) > 3)
    assert len(caplog.records) == 1
    assert '"resources":["leases"]' in caplog.text
    cluster.refusal = None
    await until(lambda: one.leading)


def test_times_that_would_let_two_lead():
    with pytest.raises(ValueError, match="two could lead"):
        LeaderElection(None, namespace="a", name="b", identity="c", duration=10, renew_deadline=10)


async def test_two_never_lead_at_once(cluster, candidate, until, serve):
    """Both are cut off again and again, in turns and together, while writes take their time."""
    stage, cut_off, terms = [], set(), []

    async def line(name):
        async def handler(request):
            if name in cut_off:
                request.transport.abort()
            await asyncio.sleep(0.005)
            return await cluster.handle(request)

        return await serve(handler)

    async def run(name, client):
        while True:
            one = candidate(name, stage=stage, client=client, duration=0.2, renew_deadline=0.15, retry=0.02)
            with contextlib.suppress(LeadershipLost):
                await one.task
            terms.append(name)

    lines = {name: await line(name) for name in ("one", "two")}
    runs = [asyncio.create_task(run(name, client)) for name, client in lines.items()]
    try:
        for _ in range(3):
            await until(lambda: stage, 5)
            leader = stage[0].election.identity
            cut_off.add(leader)
            await until(lambda: stage and stage[0].election.identity != leader, 5)  # noqa: B023
            cut_off.clear()
        assert not any(one.done() for one in runs)
        assert len(terms) >= 3
    finally:
        for one in runs:
            one.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
