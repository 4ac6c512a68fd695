"""A gateway as its watcher knows it, by its line."""

from __future__ import annotations

import msgspec
import pytest

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Settings

SETTINGS = Settings(wanted=True, encryption="strict")
POD = Pod(name="web", uid="1", addresses=("10.0.0.2",), probe_sources=("192.0.2.1",), probe_ports=(8080,))


class Line:
    def __init__(self):
        self.said = []
        self.closed = False

    def write(self, data):
        self.said.append(messages.decode_from_watcher(data))

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


def report(state):
    return messages.Report(
        state=state, settings_revision=0, certificate_expires=0.0, clear_connections=(), snapshot=GatewaySnapshot()
    )


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def gateway(line):
    made = ConnectedGateway()
    made.connected(line)
    return made


def test_one_that_never_connected():
    gateway = ConnectedGateway()
    first = gateway.revision
    assert not gateway.is_connected
    assert gateway.state == "starting"
    assert not gateway.send(messages.Leave(grace=1.0))
    gateway.configure(SETTINGS, pod=POD, authorize=False)
    gateway.leave(1.0)
    assert (gateway.applied, gateway.revision, gateway.told_to_leave) == (None, first, False)


def test_settings_that_were_sent_count_as_applied(gateway, line):
    first = gateway.revision
    gateway.configure(SETTINGS, pod=POD, authorize=False)
    gateway.configure(Settings(), pod=POD, authorize=False)
    assert gateway.applied == Settings()
    assert [message.revision for message in line.said] == [first + 1, first + 2]
    assert line.said[0] == messages.Configure(
        revision=first + 1,
        addresses=("10.0.0.2",),
        settings=SETTINGS,
        probe_sources=("192.0.2.1",),
        probe_ports=(8080,),
    )


def test_what_an_earlier_line_carried_may_not_have_arrived(gateway, line):
    first = gateway.revision
    gateway.configure(SETTINGS, pod=POD, authorize=False)
    gateway.leave(1.0)
    gateway.disconnected(line)
    assert gateway.applied == SETTINGS
    assert gateway.told_to_leave
    gateway.connected(Line())
    assert gateway.applied is None
    assert not gateway.told_to_leave
    gateway.configure(SETTINGS, pod=POD, authorize=False)
    assert gateway.revision == first + 2
    # What it said on the earlier line may have come late.
    gateway.reported(msgspec.structs.replace(report("ready"), settings_revision=first + 1))
    assert not gateway.has_in_force(SETTINGS)
    gateway.reported(msgspec.structs.replace(report("ready"), settings_revision=first + 2))
    assert gateway.has_in_force(SETTINGS)
    assert not gateway.has_in_force(Settings())


def test_nothing_is_sent_on_a_line_that_is_closing(gateway, line):
    line.close()
    gateway.configure(SETTINGS, pod=POD, authorize=False)
    gateway.leave(1.0)
    assert line.said == []
    assert (gateway.applied, gateway.told_to_leave) == (None, False)


def test_a_new_line_ends_the_old_one_and_the_end_of_the_old_one_does_not_end_the_new(gateway, line):
    newer = Line()
    gateway.connected(newer)
    assert line.closed
    gateway.disconnected(line)
    assert gateway.is_connected
    gateway.disconnected(newer)
    assert not gateway.is_connected


def test_silence_is_counted_from_the_end_of_the_line(gateway, line):
    assert gateway.silence == 0.0
    gateway.disconnected(line)
    gateway.since -= 5
    assert 5.0 <= gateway.silence < 6.0


@pytest.mark.parametrize(
    ("said", "state"), [("starting", "starting"), ("ready", "ready"), ("draining", "draining"), ("dancing", "starting")]
)
def test_the_state_is_what_it_says(gateway, said, state):
    assert gateway.reported(report(said))
    assert gateway.state == state
    assert not gateway.reported(report(said))


def test_one_that_drains_of_its_own_accord_counts_as_told(gateway):
    gateway.reported(report("draining"))
    assert gateway.told_to_leave
