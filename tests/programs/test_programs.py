"""Programs that know nothing of us work the same in clear, half enrolled and enrolled, and are not readable then."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from kube_gateway.model.ports import TLS_TUNNEL_PORT
from programs.nginx import Nginx
from programs.openssh import OpenSSH
from programs.postgresql import PostgreSQL
from programs.redis import Redis

pytestmark = pytest.mark.root

CLIENT_FIRST, SERVER_FIRST = ("client", "server"), ("server", "client")


@pytest.fixture
def directory():
    """A directory that a server which is not root can be let into, unlike `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="kube-gateway-test-") as path:
        yield Path(path)


@pytest.mark.parametrize(
    ("kind", "options", "order"),
    [
        pytest.param(Nginx, {}, CLIENT_FIRST, id="nginx"),
        pytest.param(OpenSSH, {}, SERVER_FIRST, id="openssh"),
        pytest.param(PostgreSQL, {}, SERVER_FIRST, id="postgresql"),
        pytest.param(Redis, {}, CLIENT_FIRST, id="redis"),
        pytest.param(Redis, {"ipv6": True}, SERVER_FIRST, id="redis-ipv6"),
    ],
)
def test_an_unchanged_program(directory, instance, kind, options, order):
    program = kind(instance, directory, **options)
    program.start()

    with instance.capture("server") as clear:
        program.use()
    assert clear.seen(program.readable)

    first, second = order
    instance.annotate(first, encrypt="true")
    with instance.capture("server") as half_enrolled:
        program.use()
    assert half_enrolled.seen(program.readable), "a peer that is not enrolled cannot have been spoken to in TLS"

    instance.annotate(second, encrypt="true")
    with instance.capture("server") as enrolled:
        program.use()
    assert not enrolled.seen(program.readable)
    assert set(enrolled.ports()) == {TLS_TUNNEL_PORT}

    before = _streams(instance)
    connections = program.load()
    after = _streams(instance)
    assert after["tunnelled"] - before["tunnelled"] >= connections
    assert after["otherwise"] == before["otherwise"]


def _streams(instance) -> dict[str, int]:
    """How many connections of the client went through the tunnel, and how many went another way or failed."""
    instance.counter("client", "streams_outbound", fresh=True)
    client, server = (instance.report(name).snapshot.counters for name in ("client", "server"))
    failed = ("refused_outbound", "clear_outbound", "handshakes_failed")
    return {
        "tunnelled": client["streams_outbound"],
        "otherwise": sum(client[name] for name in failed)
        + sum(server[name] for name in ("denied_inbound", "malformed_inbound", "handshakes_failed")),
    }
