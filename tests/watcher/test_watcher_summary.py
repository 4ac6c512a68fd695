"""What the watcher publishes of its gateways."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.kube.refusals import Forbidden
from kube_gateway.model.flow import ClearConnection, GatewaySnapshot, PeerReport
from kube_gateway.model.sent import SentReport, SentTo
from kube_gateway.model.settings import Settings
from kube_gateway.watcher import summary
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.connections import Connections
from kube_gateway.watcher.memory import PodMemory
from kube_gateway.watcher.objects import PodObject
from kube_gateway.watcher.observation import Surroundings, observe
from kube_gateway.watcher.summary import PodSummary, Publisher, Summary, pod_summary, within

COUNTERS = {
    "streams_outbound": 20,
    "streams_inbound": 11,
    "clear_outbound": 2,
    "refused_outbound": 1,
    "denied_inbound": 3,
    "streams_active": 5,
    "clear_standing": 3,
}


def pod(name="web", *, ended=(), running=(), **annotations):
    """A pod with gateways that have ended and others that run, by number."""
    names = {number: "kube-gateway" if number == 1 else f"kube-gateway-{number}" for number in (*ended, *running)}
    states = {number: {"terminated": {"exitCode": 1}} for number in ended} | {
        number: {"running": {}} for number in running
    }
    body = {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "annotations": {f"kube-gateway.io/{key}": value for key, value in annotations.items()},
        },
        "spec": {"ephemeralContainers": [{"name": name, "image": "gateway:1"} for name in names.values()]},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": "10.0.0.1"}],
            "ephemeralContainerStatuses": [{"name": names[number], "state": state} for number, state in states.items()],
        },
    }
    return msgspec.convert(body, PodObject)


def line(state="ready", counters=COUNTERS, settings=None):
    gateway = ConnectedGateway()
    gateway.version = "0.1.0"
    gateway.applied = settings or Settings(wanted=True, encryption="permissive")
    clear = ClearConnection(
        cookie=1,
        local_address="10.0.0.1",
        local_port=1,
        remote_address="10.0.0.9",
        remote_port=2,
        relayed=False,
        idle=0,
    )
    gateway.report = messages.Report(
        state=state,
        settings_revision=1,
        certificate_expires=5000.0,
        clear_connections=(clear,),
        snapshot=GatewaySnapshot(counters=counters, peers=(PeerReport(address="10.0.0.9", state="clear"),)),
    )
    return gateway


def observed(seen, lines):
    around = Surroundings(inherited={}, image="gateway:1", started=0, refusal=None, longest_retry=300.0, now=100.0)
    return observe(seen, lines, around)


def summarised(seen, lines):
    return pod_summary(seen, observed(seen, lines), lines)


def test_what_a_gateway_reports_is_told():
    assert summarised(pod(running=[1], encrypt="true"), {1: line()}) == PodSummary(
        key="shop/web",
        uid="uid-web",
        generation=1,
        state="ready",
        version="0.1.0",
        mode="permissive",
        certificate_expires=5000.0,
        tunnelled=31,
        clear=2,
        refused=4,
        clear_connections=3,
        encrypted_connections=5,
        peers=1,
    )


def test_what_left_the_pod_is_told_and_what_was_not_let_through():
    refused = {"gate_refused": 4, "egress_refused": 3, "udp_refused": 2}
    gateway = line(counters={**COUNTERS, **refused})
    sent = SentReport(
        since=50.0, totals={"tunnel": 9, "plain": 1}, peers=(SentTo(address="10.0.0.9", kind="plain", bytes=1),)
    )
    gateway.report = msgspec.structs.replace(gateway.report, sent=sent)
    found = summarised(pod(running=[1], encrypt="strict"), {1: gateway})
    assert (found.sent, found.sent_since) == ({"tunnel": 9, "plain": 1}, 50.0)
    assert (found.refused_in_clear, found.udp_refused, found.refused) == (7, 2, 4)


def test_during_a_handover_the_newest_that_is_ready_counts():
    lines = {1: line(), 2: line(state="starting", counters={})}
    assert summarised(pod(running=[1, 2], encrypt="true"), lines).generation == 1
    lines[2] = line(counters={"streams_outbound": 1})
    found = summarised(pod(running=[1, 2], encrypt="true"), lines)
    assert (found.generation, found.tunnelled) == (2, 1)


def test_a_gateway_that_ended_is_not_the_one_that_counts_although_it_was_ready():
    found = summarised(pod(ended=[1], running=[2], encrypt="true"), {1: line()})
    assert (found.generation, found.state, found.version, found.tunnelled) == (2, "starting", "", 0)


def test_a_pod_that_waits_for_its_gateway_is_told_and_others_are_not():
    assert summarised(pod(encrypt="true"), {}) == PodSummary(key="shop/web", uid="uid-web", generation=0, state="none")
    assert summarised(pod(), {}) is None
    assert summarised(pod(ended=[1], enabled="false", encrypt="true"), {}) is None


def test_what_there_is_no_room_for_is_counted():
    pods = [
        PodSummary(key=f"shop/pod-{number:05}", uid="u" * 36, generation=1, state="ready") for number in range(20_000)
    ]
    kept, left_out = within(pods, summary.LARGEST)
    assert len(kept) + left_out == 20_000
    assert kept == tuple(pods[: len(kept)])
    whole = Summary(time=1.0, leader="w", version="0", image="i", certificate_life=3600.0, pods=kept, left_out=left_out)
    assert 0.95 * summary.LARGEST < len(msgspec.json.encode(whole)) < summary.LARGEST + 1000 < 1024 * 1024


@pytest.mark.parametrize(
    ("size", "pause"), [(0, 10.0), (160 * 1024, 10.0), (320 * 1024, 20.0), (summary.LARGEST, 48.0), (2**30, 60.0)]
)
def test_the_longer_it_is_the_less_often_it_is_written(size, pause):
    assert summary.pause_after(size) == pause


class World:
    """A cluster of one pod, and an API server that takes the summary, or not."""

    image = "gateway:1"

    def __init__(self):
        self.seen = pod(running=[1], encrypt="true")
        self.remembered = PodMemory("uid-web")
        self.remembered.lines[1] = line()
        self.pods = self
        self.writes, self.connections = [], []
        self.error = None

    @property
    def store(self):
        return {"shop/web": self.seen}

    def observe(self, key):
        return observed(self.store[key], self.remembered.lines)

    def peers_of(self, observation):
        assert observation.pod.key == "shop/web"
        return ()

    def services_of(self, observation):
        assert observation.pod.key == "shop/web"
        return {}

    def memory(self, key):
        assert key == "shop/web"
        return self.remembered

    async def patch(self, path, body, *, kind):
        assert (path, kind) == ("/api/v1/namespaces/kube-gateway/configmaps/kube-gateway-status", "apply")
        self.writes.append(msgspec.json.decode(body["data"]["status"], type=Summary))
        self.connections.append(msgspec.json.decode(body["data"]["connections"], type=Connections))
        if self.error:
            raise self.error


NO_IDENTITIES = SimpleNamespace(trusted=frozenset(), status=None)


@contextlib.asynccontextmanager
async def publishing(world, monkeypatch):
    """Publish with pauses a thousand times shorter."""
    monkeypatch.setattr(summary, "EVERY", 0.01)
    monkeypatch.setattr(summary, "AT_LEAST_EVERY", 0.06)
    configuration = Configuration(
        name="watcher-1", address="10.0.0.2", authority=Path(), certificate_life=datetime.timedelta(hours=1)
    )
    task = asyncio.create_task(Publisher(world, configuration, cluster=world, identities=NO_IDENTITIES).run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def written(world, count):
    async with asyncio.timeout(3):
        while len(world.writes) < count:
            await asyncio.sleep(0.001)


async def test_it_is_written_when_something_changed_and_now_and_then_although_nothing_did(monkeypatch):
    world = World()
    async with publishing(world, monkeypatch):
        await written(world, 3)
        unchanged = [after.time - before.time for before, after in zip(world.writes, world.writes[1:], strict=False)]
        assert all(seconds >= 0.049 for seconds in unchanged)
        first = world.writes[0]
        assert (first.leader, first.image, first.certificate_life, first.left_out) == (
            "watcher-1",
            "gateway:1",
            3600,
            0,
        )
        count = len(world.writes)
        world.remembered.lines[1] = line(counters={"streams_outbound": 21})
        await written(world, count + 1)
    assert [pod.tunnelled for pod in first.pods] == [31]
    assert [pod.tunnelled for pod in world.writes[-1].pods] == [21]
    (said,) = first.pods
    assert (said.clear_connections, said.encrypted_connections, said.clear_older) == (3, 5, 0)
    assert said.clear_causes == {"peer-not-enrolled": 1}
    (told,) = world.connections[0].plans
    assert (told.pod, told.flush, told.left_out) == ("shop/web", "never", 2)
    assert [(each.fate, each.cause) for each in told.verdicts] == [("stays", "peer-not-enrolled")]


async def test_a_refusal_is_told_once_and_it_is_tried_again(monkeypatch, caplog):
    world = World()
    world.error = Forbidden("you may not", status=403)
    async with publishing(world, monkeypatch):
        await written(world, 3)
        world.error = None
        count = len(world.writes)
        await written(world, count + 1)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["kube-gateway status will not know what gateways report: you may not"]
