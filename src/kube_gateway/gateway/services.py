"""What the worker asks the watcher, by way of the supervisor, which keeps the questions about Services so that they can be
asked again. The answers are the worker's."""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Callable, Iterator

import msgspec

from kube_gateway.control import messages as control
from kube_gateway.gateway import worker_messages as messages
from kube_gateway.model.service import Backend, ServiceBackends

_REMEMBERED = 16_384
"""Destinations, the first asked forgotten first. The worker remembers as many in the same order, so that it has no answer
that would not be asked for again."""

_MOST_BACKENDS = 1000
_SEED = secrets.token_bytes(16)


class ServiceQuestions:
    """The destinations that the watcher was asked about, the first asked first."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, int], None] = {}

    def add(self, address: str, port: int) -> None:
        """Remember one; asked again, it is as new."""
        self._asked.pop((address, port), None)
        self._asked[address, port] = None
        if len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(tuple(self._asked))


class Questions:
    """Passes questions on with `ask`, and answers with `tell`."""

    def __init__(
        self, *, ask: Callable[[control.FromGateway], bool], tell: Callable[[messages.ToWorker], None]
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._services = ServiceQuestions()

    def connected(self) -> None:
        """Ask about Services again: the watcher tells changes of what it was asked on this connection."""
        for address, port in self._services:
            self._ask(control.ServiceQuery(address=address, port=port))

    def asked(self, question: messages.Query | messages.ServiceQuery) -> None:
        """The worker wants to know."""
        match question:
            case messages.Query():
                self._ask(control.PeerQuery(address=question.address))
            case messages.ServiceQuery():
                self._services.add(question.address, question.port)
                self._ask(control.ServiceQuery(address=question.address, port=question.port))

    def answered(self, answer: control.PeerAnswer | control.ServiceAnswer) -> None:
        """The watcher says."""
        match answer:
            case control.PeerAnswer():
                self._tell(messages.Answer(address=answer.address, enrolled=answer.enrolled))
            case control.ServiceAnswer():
                service = sampled(answer.service) if answer.service else None
                self._tell(messages.ServiceAnswer(address=answer.address, port=answer.port, service=service))


def sampled(service: ServiceBackends) -> ServiceBackends:
    """Return the Service with at most 1000 of its backends: an answer has to fit into one message to the worker.

    Which ones differs from gateway to gateway, and stays the same as others come and go.
    """
    if len(service.backends) <= _MOST_BACKENDS:
        return service
    chosen = heapq.nsmallest(_MOST_BACKENDS, service.backends, key=_rank)
    return msgspec.structs.replace(service, backends=tuple(chosen))


def _rank(backend: Backend) -> int:
    return hash((_SEED, backend.address, backend.port))
