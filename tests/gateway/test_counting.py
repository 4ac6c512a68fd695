"""What is counted each second, whether or not the watcher is there."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from kube_gateway import _native
from kube_gateway.control.messages import Configure
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.accounting import Accounting
from kube_gateway.gateway.counting import Counting
from kube_gateway.gateway.reporting import Reporter
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.model.settings import Settings
from receipts import environment


class Hooks:
    """Counts as the kernel does, and can fail to."""

    def __init__(self):
        self.broken = False

    def sent(self):
        return json.dumps({"since": 5.0, "totals": {"plain": 7}, "peers": []}).encode()

    def counters(self):
        if self.broken:
            raise _native.NativeError("cannot read a counter", 9)
        return {"gate_refused": 3}


class Link:
    connected = False


class Certificate:
    expires = 5000.0


@pytest.fixture
def hooks():
    return Hooks()


@pytest.fixture
def told():
    return []


@pytest.fixture
def counting(hooks, told):
    accounting = Accounting(environment(), hooks=lambda: hooks, identity=lambda: None)
    reporter = Reporter(
        Link(),
        pod=Path("/nowhere"),
        certificate=Certificate(),
        hooks=lambda: hooks,
        cgroups=set,
        control_port=0,
        ai=lambda: None,
        identity=lambda: None,
        sent=lambda: accounting.report,
    )
    found = Counting(lambda message, _=(): told.append(message), accounting=accounting, reporter=reporter)
    found.accounting, found.reporter = accounting, reporter
    return found


def configure(**more):
    settings = Settings(wanted=True, encryption="strict", **more)
    return Configure(revision=1, addresses=("127.0.0.1",), settings=settings)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_nothing_is_counted_before_the_settings_are_known(counting):
    counting.count(None, GatewaySnapshot())
    assert counting.accounting.report is None


def test_it_is_counted_and_not_shown_where_nobody_asks(counting, told):
    counting.count(configure(), GatewaySnapshot())
    assert counting.accounting.report.totals == {"plain": 7}
    assert told == []


def test_it_is_shown_where_the_settings_say(counting, told):
    message = configure(metrics_port=free_port())
    counting.port.configure(message.settings, addresses=message.addresses)
    counting.count(message, GatewaySnapshot(counters={"streams_outbound": 2}))
    shown = told[-1]
    assert isinstance(shown, messages.ShowFigures)
    for line in (
        'kube_gateway_sent_bytes_total{kind="plain"} 7',
        "kube_gateway_gate_refused_total 3",
        'kube_gateway_streams_total{how="tunnelled_out"} 2',
        'kube_gateway_info{encryption="strict",udp="allow"} 1',
        "kube_gateway_certificate_expiry_seconds 5000",
    ):
        assert f"{line}\n" in shown.page
    counting.port.close()


def test_counters_that_cannot_be_read_are_told_and_end_nothing(counting, hooks, told, caplog):
    message = configure(metrics_port=free_port())
    counting.port.configure(message.settings, addresses=message.addresses)
    hooks.broken = True
    counting.count(message, GatewaySnapshot())
    assert told == [messages.ServeFigures()]
    assert "cannot read a counter" in caplog.text
    counting.port.close()


def test_while_the_watcher_is_away_it_is_looked_what_stands_in_clear(counting, monkeypatch):
    looked = []

    def look(**options):
        looked.append(options["own_addresses"])
        return type("Standing", (), {"standing": 4})

    monkeypatch.setattr(counting.reporter.inventory, "look", look)
    counting.count(configure(), GatewaySnapshot())
    assert looked == [("127.0.0.1",)]
    assert counting.reporter.clear == 4
    monkeypatch.setattr(Link, "connected", True)
    counting.count(configure(), GatewaySnapshot())
    assert len(looked) == 1
