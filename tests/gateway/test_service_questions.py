"""What a supervisor keeps of Services is bounded, and so is what it tells its worker."""

from __future__ import annotations

import msgspec

from kube_gateway.gateway import services as module
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.gateway.services import ServiceQuestions, sampled
from kube_gateway.model.service import Backend, ServiceBackends


def service(count: int, *, first: int = 0) -> ServiceBackends:
    backends = (
        Backend(address=f"fd00:1234:5678:9abc:def0:1234:5678:{number:x}", port=65535)
        for number in range(first, first + count)
    )
    return ServiceBackends(service="shop/web", backends=tuple(backends), affinity_seconds=3)


def test_questions_come_in_the_order_they_were_last_asked():
    questions = ServiceQuestions()
    for port in (1, 2, 3, 1):
        questions.add("10.96.0.1", port)
    assert list(questions) == [("10.96.0.1", 2), ("10.96.0.1", 3), ("10.96.0.1", 1)]


def test_questions_are_bounded_and_the_oldest_goes_first(monkeypatch):
    monkeypatch.setattr(module, "_REMEMBERED", 3)
    questions = ServiceQuestions()
    for port in (1, 2, 3, 4):
        questions.add("10.96.0.1", port)
    assert [port for _, port in questions] == [2, 3, 4]


def test_questions_may_be_added_while_they_are_gone_through():
    questions = ServiceQuestions()
    questions.add("10.96.0.1", 1)
    for address, port in questions:
        questions.add(address, port + 1)
    assert len(list(questions)) == 2


def test_a_service_of_the_usual_size_is_passed_on_as_it_is():
    assert sampled(service(1000)) == service(1000)


def test_of_a_great_service_the_worker_is_told_as_much_as_fits_into_a_message():
    found = sampled(service(5000))
    assert len(found.backends) == 1000
    assert set(found.backends) < set(service(5000).backends)
    assert (found.service, found.affinity_seconds) == ("shop/web", 3)
    message = messages.ServiceAnswer(address="fd00::1", port=1, service=found)
    assert len(messages.encode(message)) < messages.PACKET


def test_which_backends_stays_the_same_as_others_come_and_go():
    before, after = sampled(service(5000)), sampled(service(5000, first=50))
    stayed = set(before.backends) & set(after.backends)
    # 1 % of those chosen have gone, and as many are new.
    assert len(stayed) > 950


def test_another_gateway_chooses_others(monkeypatch):
    one = sampled(service(5000))
    monkeypatch.setattr(module, "_SEED", b"another")
    other = sampled(service(5000))
    assert len(set(one.backends) & set(other.backends)) < 500
    assert msgspec.structs.replace(one, backends=()) == msgspec.structs.replace(other, backends=())
