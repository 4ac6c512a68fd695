"""What the watcher publishes of connections in clear, and what is read of it."""

from __future__ import annotations

import msgspec
import pytest

from kube_gateway.checks.asking import Refusal
from kube_gateway.checks.connections import read_published
from kube_gateway.checks.reported import NoSummary
from kube_gateway.control.flush_plan import FlushPlan, Standing
from kube_gateway.control.flushing import Verdict
from kube_gateway.kube.client import decode
from kube_gateway.kube.refusals import Forbidden, NotFound
from kube_gateway.model.flow import ClearConnection
from kube_gateway.watcher import summary
from kube_gateway.watcher.connections import LARGEST, Connections, is_news, within


def verdict(number, *, idle=1.0, cause="comes-back-encrypted", remote="10.0.0.9"):
    connection = ClearConnection(
        cookie=number,
        local_address="10.0.0.1",
        local_port=number,
        remote_address=remote,
        remote_port=5432,
        relayed=False,
        idle=idle,
        age=idle + 1,
        older=True,
        process="postgres",
        pid=12,
        container="cri-containerd-0123456789abcdef.scope",
    )
    return Verdict(connection=connection, fate="ends", cause=cause)


def plan(verdicts, pod="shop/web", **fields):
    standing = Standing(encrypted=1, clear=len(verdicts))
    return FlushPlan(pod=pod, flush="all", state="ready", standing=standing, verdicts=tuple(verdicts), **fields)


def test_what_fits_is_told_whole():
    plans = [plan([verdict(number) for number in range(100)])]
    found = within(plans, LARGEST, time=5.0)
    assert found == Connections(time=5.0, plans=tuple(plans))


def test_where_there_is_no_room_each_pod_tells_as_many_as_the_others_and_how_many_not():
    plans = [plan([verdict(number) for number in range(count)], pod=f"shop/{count}") for count in (3, 400, 900)]
    found = within(plans, LARGEST, time=5.0)
    assert len(msgspec.json.encode(found)) <= LARGEST
    assert [(len(each.verdicts), each.left_out) for each in found.plans] == [(3, 0), (200, 200), (200, 700)]


def test_a_thousand_pods_and_more_are_within_what_a_config_map_holds():
    plans = [plan([verdict(number) for number in range(30)], pod=f"shop/pod-{name:05}") for name in range(3000)]
    found = within(plans, LARGEST, time=5.0)
    assert len(msgspec.json.encode(found)) <= LARGEST
    assert found.left_out == 3000 - len(found.plans) > 0
    assert all(each.left_out == 30 for each in found.plans)
    assert summary.LARGEST + LARGEST < 1000 * 1000


def test_names_of_peers_that_are_not_told_are_left_out_too():
    verdicts = [verdict(number, remote=f"10.1.{number // 250}.{number % 250}") for number in range(1000)]
    names = {each.connection.remote_address: "shop/db" for each in verdicts}
    (found,) = within([plan(verdicts, names=names)], 20_000, time=5.0).plans
    assert found.names.keys() == {each.connection.remote_address for each in found.verdicts}


def test_that_time_goes_by_is_no_news():
    before = Connections(time=1.0, plans=(plan([verdict(1, idle=1.0)]),))
    assert not is_news(Connections(time=2.0, plans=(plan([verdict(1, idle=2.0)]),)), before)
    assert is_news(Connections(time=1.0, plans=(plan([verdict(2, idle=1.0)]),)), before)
    assert is_news(Connections(time=1.0, plans=(plan([verdict(1, cause="opted-out")]),)), before)
    assert is_news(Connections(time=1.0), before)


class Server:
    """An API server with one pod and what the watcher has published."""

    def __init__(self, published=None, *, pod=True, refused=()):
        self._refused = refused
        self._answers = {
            "/api/v1/namespaces/kube-gateway/configmaps/kube-gateway-status": {"data": published or {}},
        }
        if pod:
            statuses = [{"name": "app", "containerID": "containerd://0123456789abcdef"}, {"name": "waits"}]
            self._answers["/api/v1/namespaces/shop/pods/web"] = {"status": {"containerStatuses": statuses}}

    async def get(self, path, item):
        if any(part in path for part in self._refused):
            raise Forbidden("no", status=403)
        if path not in self._answers:
            raise NotFound("no", status=404)
        return decode(msgspec.json.encode(self._answers[path]), item, what=path)


async def read(server):
    return await read_published(server, "web", namespace="shop", watcher="kube-gateway")


async def test_what_is_published_of_a_pod_is_read_with_the_names_of_its_containers():
    whole = Connections(time=5.0, plans=(plan([], pod="shop/other"), plan([verdict(1)])), left_out=3)
    found = await read(Server({"connections": msgspec.json.encode(whole).decode()}))
    assert found.plan == plan([verdict(1)])
    assert (found.time, found.left_out, found.containers) == (5.0, 3, {"0123456789abcdef": "app"})


@pytest.mark.parametrize(
    ("published", "message"),
    [
        ({}, "the ConfigMap kube-gateway/kube-gateway-status tells of no connections"),
        ({"connections": "[]"}, "the ConfigMap kube-gateway/kube-gateway-status is not understood"),
    ],
)
async def test_that_nothing_can_be_read_is_told(published, message):
    found = await read(Server(published))
    assert isinstance(found, NoSummary)
    assert found.message.startswith(message)


async def test_a_pod_that_is_not_there_and_what_may_not_be_read_are_told():
    whole = {"connections": msgspec.json.encode(Connections(time=5.0)).decode()}
    with pytest.raises(NotFound, match="there is no pod web in the namespace shop"):
        await read(Server(whole, pod=False))
    assert isinstance(await read(Server(whole, refused=("configmaps",))), Refusal)
    found = await read(Server(whole, refused=("pods",)))
    assert (found.plan, found.containers) == (None, {})
