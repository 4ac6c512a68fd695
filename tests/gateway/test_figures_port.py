"""Where figures are served, and by whom."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.figures_port import FiguresPort
from kube_gateway.gateway.worker_figures import WorkerFigures
from kube_gateway.model.settings import Settings

HERE = ("127.0.0.1",)


class Worker:
    """Hears what is sent."""

    def __init__(self):
        self.heard = []
        self.port = FiguresPort(self.send)

    def send(self, message, descriptors=()):
        self.heard.append((message, len(descriptors)))


@pytest.fixture
def worker():
    return Worker()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wanted(port, **more):
    return Settings(wanted=True, metrics_port=port, **{"encryption": "strict", **more})


@pytest.mark.parametrize("settings", [{}, {"encryption": "none", "ai": True}, {"encryption": "off"}])
def test_figures_are_served_where_the_annotation_says(worker, settings):
    port = free_port()
    worker.port.configure(wanted(port, **settings), addresses=HERE)
    assert worker.heard == [(messages.ServeFigures(), 1)]
    assert worker.port.is_open
    socket.create_connection(("127.0.0.1", port)).close()
    worker.port.close()
    assert not worker.port.is_open
    assert worker.heard[1:] == [(messages.ServeFigures(), 0)]


def test_both_gateways_of_a_hand_over_may_have_the_port(worker):
    port = free_port()
    worker.port.configure(wanted(port), addresses=HERE)
    later = Worker()
    later.port.configure(wanted(port), addresses=HERE)
    assert later.heard == [(messages.ServeFigures(), 1)]
    worker.port.close()
    later.port.configure(wanted(0), addresses=HERE)
    with socket.create_server(("127.0.0.1", port)):
        pass  # both have given it up


def test_nothing_is_said_while_nothing_changes(worker):
    port = free_port()
    for _ in range(3):
        worker.port.configure(wanted(port), addresses=HERE)
    assert len(worker.heard) == 1
    worker.port.brief()
    assert worker.heard[1:] == [(messages.ServeFigures(), 1)]


def test_without_a_port_a_new_worker_is_told_nothing(worker):
    worker.port.configure(wanted(0), addresses=HERE)
    worker.port.brief()
    assert worker.heard == []


def test_a_pod_that_leaves_serves_none(worker):
    worker.port.configure(wanted(free_port()), addresses=HERE)
    worker.port.configure(Settings(encryption="strict", metrics_port=9464), addresses=HERE)
    assert not worker.port.is_open


def test_a_port_that_the_application_has_is_told_and_ends_nothing(worker, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker.port.configure(wanted(port), addresses=HERE)
    assert f"port {port} on 127.0.0.1 is taken by another process of the pod" in caplog.text
    assert not worker.port.is_open


def test_the_worker_answers_with_what_it_was_told_and_what_it_counts():
    figures = WorkerFigures(more=lambda: b"calls 3\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        figures.serve([listener.detach()])
    figures.show("sent 5\n")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.read() == b"sent 5\ncalls 3\n"
    figures.serve([])
