"""Which connections in clear go on past a policy that has closed their port."""

from __future__ import annotations

import socket

import pytest

from kube_gateway.control.messages import Configure
from kube_gateway.gateway.bypasses import bypasses, listening_ports
from kube_gateway.model.flow import ClearConnection
from kube_gateway.model.settings import Settings

PEER = "10.0.0.9"


def told(**more):
    settings = Settings(wanted=True, encryption="permissive", **more)
    return Configure(
        revision=1, addresses=("10.0.0.2",), settings=settings, probe_sources=("10.0.0.1",), probe_ports=(8080,)
    )


def connection(port=8080, *, remote=PEER, relayed=False, from_router=False):
    return ClearConnection(
        cookie=7, local_address="10.0.0.2", local_port=port, remote_address=remote, remote_port=40000, relayed=relayed,
        idle=0.0, from_router=from_router,
    )  # fmt: skip


def ended(one, *, closed=((8000, 9000), (18443, 18443)), **more):
    return bypasses([one], closed=closed, told=told(**more), listening={8080, 9090, 18443}) == (7,)


def test_what_was_accepted_on_a_closed_port_is_ended():
    assert ended(connection())
    assert ended(connection(), closed=((1, 65535),))


@pytest.mark.parametrize(
    ("one", "settings"),
    [
        (connection(9090), {}),
        (connection(8500), {}),
        (connection(relayed=True), {}),
        (connection(remote="10.0.0.1"), {}),
        (connection(from_router=True), {}),
        (connection(), {"exempt_sources": ("10.0.0.8/30",)}),
        (connection(), {"metrics_port": 8080}),
        (connection(18443), {}),
    ],
    ids=[
        "another port",
        "made by the pod",
        "relayed",
        "a probe",
        "a router's probe",
        "an exempt source",
        "figures",
        "a tunnel",
    ],
)
def test_what_is_not_meant_goes_on(one, settings):
    assert not ended(one, **settings)


def test_a_node_is_no_more_than_any_other_where_it_does_not_probe():
    assert ended(connection(9090, remote="10.0.0.1"), closed=((9090, 9090),))
    assert ended(connection(9090, from_router=True), closed=((9090, 9090),))


def test_without_closed_ports_nothing_is_looked_at():
    assert bypasses([connection()], closed=(), told=told()) == ()


def test_ports_that_somebody_listens_on():
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        found = listening_ports()
        assert listener.getsockname()[1] in found
        assert bound.getsockname()[1] not in found
