"""The gateway's ports: all of a kind or none, and a person is told which one is taken."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest

from kube_gateway.errors import EnvironmentProblem
from kube_gateway.gateway import listeners as listeners_module
from kube_gateway.gateway.listeners import Listeners, redirect_port_is_taken
from kube_gateway.model.ports import PLAIN_TUNNEL_PORT, REDIRECT_PORT, TLS_TUNNEL_PORT

# Loopback addresses that nothing else uses stand in for those of a pod.
FIRST, SECOND = "127.91.0.1", "127.91.0.2"


@pytest.fixture
def listeners():
    made = Listeners((FIRST, SECOND))
    yield made
    for kind in made.kinds():
        made.close(kind)


def taken(address: str, port: int = TLS_TUNNEL_PORT) -> contextlib.closing:
    """The application of the pod that was there first."""
    application = socket.socket()
    application.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    application.bind((address, port))
    application.listen()
    return contextlib.closing(application)


def accepts(address: str, port: int = TLS_TUNNEL_PORT) -> bool:
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex((address, port)) == 0


@pytest.mark.parametrize(("kind", "port"), [("tls", TLS_TUNNEL_PORT), ("plain", PLAIN_TUNNEL_PORT)])
def test_a_tunnel_listens_on_every_address_of_the_pod_and_no_other(listeners, kind, port):
    opened = listeners.open(kind)
    assert [listener.getsockname() for listener in opened] == [(FIRST, port), (SECOND, port)]
    assert accepts(FIRST, port)
    assert accepts(SECOND, port)
    assert not accepts("127.91.0.3", port)


def test_redirected_connections_are_taken_on_loopback_once_for_each_family():
    listeners = Listeners((FIRST, SECOND, "fd00::2"))
    wanted = [(family, address, port) for family, address, port in listeners._wanted("redirect")]
    assert wanted == [
        (socket.AF_INET, "127.0.0.1", REDIRECT_PORT),
        (socket.AF_INET6, "::1", REDIRECT_PORT),
    ]


def test_a_pod_without_ipv6_needs_none_for_its_redirect():
    assert {family for family, *_ in Listeners((FIRST,))._wanted("redirect")} == {socket.AF_INET}


def test_a_port_that_is_taken_is_named_with_what_to_do(listeners):
    with taken(FIRST), pytest.raises(EnvironmentProblem) as refused:
        listeners.open("tls")
    assert refused.value.message == "port 18443 on 127.91.0.1 is taken by another process of the pod"
    assert refused.value.hint == (
        "ports 18000, 18001 and 18443 belong to the gateway: move the application to another port"
    )


def test_when_one_port_is_taken_none_stays_open(listeners):
    with taken(SECOND):
        with pytest.raises(EnvironmentProblem, match=SECOND):
            listeners.open("tls")
        assert not accepts(FIRST)
        assert listeners.get("tls") == ()
        assert listeners.kinds() == ()


def test_it_can_be_tried_again_when_the_port_is_free(listeners):
    with taken(SECOND), pytest.raises(EnvironmentProblem):
        listeners.open("tls")
    assert len(listeners.open("tls")) == 2
    assert accepts(SECOND)


def test_an_address_that_is_not_the_pods_is_named():
    with pytest.raises(EnvironmentProblem, match=r"cannot listen on 203\.0\.113\.9 port 18443"):
        Listeners(("203.0.113.9",)).open("tls")


def test_opening_twice_gives_the_same_sockets(listeners):
    assert listeners.open("tls") is listeners.open("tls")
    assert listeners.kinds() == ("tls",)


def test_a_kind_that_is_closed_refuses_and_the_other_goes_on(listeners):
    listeners.open("tls")
    listeners.open("plain")
    listeners.close("plain")
    assert not accepts(FIRST, PLAIN_TUNNEL_PORT)
    assert accepts(FIRST)
    assert listeners.kinds() == ("tls",)
    listeners.close("plain")


def test_a_port_is_free_for_the_next_gateway_though_a_connection_of_the_last_one_lingers(listeners):
    (listener, _) = listeners.open("tls")
    with socket.create_connection((FIRST, TLS_TUNNEL_PORT)):
        listener.setblocking(True)
        served, _ = listener.accept()
        served.close()
        listeners.close("tls")
    assert listeners.open("tls")


def test_sockets_do_not_block_and_are_not_inherited(listeners):
    for listener in listeners.open("tls"):
        assert not listener.getblocking()
        assert not listener.get_inheritable()


async def test_it_takes_a_moment_until_peers_know(listeners):
    """As long as one that was refused just before remembers it."""
    began = time.monotonic()
    await listeners.known("tls")
    assert time.monotonic() - began < 0.1
    listeners.open("tls")
    await listeners.known("tls")
    assert 0.7 < time.monotonic() - began < 2
    began = time.monotonic()
    await listeners.known("tls")
    assert time.monotonic() - began < 0.1


@pytest.mark.parametrize(
    ("family", "loopback", "own"),
    [(socket.AF_INET, "192.0.2.1", "10.0.0.2"), (socket.AF_INET6, "2001:db8::1", "fd00::2")],
    ids=["ipv4", "ipv6"],
)
def test_nobody_listens_on_an_address_that_is_not_there(monkeypatch, family, loopback, own):
    monkeypatch.setitem(listeners_module._LOOPBACK, family, loopback)
    assert not redirect_port_is_taken([own])


def test_what_cannot_be_found_out_is_not_taken_for_free(monkeypatch):
    # A link-local address needs the number of its link.
    monkeypatch.setitem(listeners_module._LOOPBACK, socket.AF_INET6, "fe80::1")
    with pytest.raises(EnvironmentProblem, match=f"cannot ask for fe80::1 port {REDIRECT_PORT}: Invalid argument"):
        redirect_port_is_taken(["fd00::2"])
