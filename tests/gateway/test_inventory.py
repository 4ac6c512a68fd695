"""Which connections are in clear, told of a real network namespace of this process."""

from __future__ import annotations

import socket
import time

import pytest

from kube_gateway.gateway import inventory
from kube_gateway.gateway.inventory import Inventory, fairly_chosen

PEERS = ("192.0.2.1", "192.0.2.2", "192.0.2.3")


def connection(cookie, remote, idle):
    fields = {"local_address": "192.0.2.9", "local_port": 1, "remote_port": 2, "age": 0.0, "half_closed": False}
    others = {"sent": 0, "received": 0, "uid": 0, "inode": 0, "cgroup": 0}
    return inventory._Connection(cookie=cookie, remote_address=remote, idle=idle, **fields, **others)


def test_of_too_many_each_peer_has_its_idlest():
    many = [connection(number, PEERS[0], float(number)) for number in range(100)]
    few = [connection(200, PEERS[1], 0.0), connection(201, PEERS[2], 5.0), connection(202, PEERS[2], 7.0)]
    chosen = fairly_chosen([*many, *few], most=5)
    assert [each.cookie for each in chosen] == [99, 202, 200, 98, 201]
    assert len(fairly_chosen([*many, *few], most=1000)) == 103


@pytest.fixture
def pair(monkeypatch):
    """A connection over loopback that is taken for one that leaves the pod, and what makes more of them."""
    monkeypatch.setattr(inventory, "_leaves_the_pod", lambda each, _own: each.remote_port == port)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    opened = []

    def connect():
        opened.extend((socket.create_connection(("127.0.0.1", port)), listener.accept()[0]))
        return opened[-2].getsockname()[1]

    yield connect
    for each in (*opened, listener):
        each.close()


def look(of, **fields):
    found = of.look(**{"own_addresses": (), "gateway_cgroups": (), "control_port": 0, **fields})
    return {each.local_port: each for each in found.reported}


def test_what_stood_when_the_hooks_came_is_older_and_nothing_else(pair, tmp_path):
    found = Inventory(tmp_path)
    first = pair()
    assert look(found)[first].older
    found.hooks_are_in_place()
    second = pair()
    seen = look(found)
    assert (seen[first].older, seen[second].older) == (True, False)


def test_a_connection_grows_older_although_it_is_used(pair, tmp_path):
    found = Inventory(tmp_path)
    port = pair()
    begun = time.monotonic()
    assert look(found)[port].age < 1.0
    time.sleep(0.3)
    age = look(found)[port].age
    assert 0.29 <= age <= time.monotonic() - begun + 0.1


@pytest.mark.parametrize("routers", [("127.0.0.1",), ("192.0.2.1",)], ids=["the router", "another"])
def test_what_the_router_has_dialled_is_told(pair, tmp_path, monkeypatch, routers):
    monkeypatch.setattr(inventory, "routers", lambda: routers)
    port = pair()
    assert look(Inventory(tmp_path))[port].from_router == (routers == ("127.0.0.1",))


def test_more_than_are_reported_are_counted(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(inventory, "MOST_REPORTED", 2)
    for _ in range(3):
        pair()
    found = Inventory(tmp_path).look(own_addresses=(), gateway_cgroups=(), control_port=0)
    assert (found.standing, len(found.reported)) == (3, 2)


def test_a_gateway_that_takes_over_knows_what_the_one_before_has_seen(pair, tmp_path):
    before, after = Inventory(tmp_path), Inventory(tmp_path)
    old = pair()
    look(before)
    before.hooks_are_in_place()
    outside = pair()
    look(before)
    time.sleep(0.3)
    after.inherit(before.seen())
    new = pair()
    after.hooks_are_in_place()
    seen = look(after)
    assert (seen[old].older, seen[outside].older, seen[new].older) == (True, False, False)
    assert seen[old].age >= 0.2


def test_after_a_gateway_that_tells_nothing_all_that_stands_is_older(pair, tmp_path):
    found = Inventory(tmp_path)
    port = pair()
    found.inherit(None)
    found.hooks_are_in_place()
    assert look(found)[port].older
