"""What the supervisor keeps of Services: the questions, so that they can be asked again. The answers are the worker's."""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Iterator

import msgspec

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
