"""Pods under load, for all faults of a file."""

from __future__ import annotations

import contextlib
import itertools
import os

import pytest

from hostile.soak.driver import Conversation
from pods import Pods

_numbers = itertools.count()


@pytest.fixture(scope="module")
def talking_pods(request, tmp_path_factory):
    """A context with a conversation on an instance of its own, which is removed afterwards.

    `talking_pods(certificate_life=10.0, encrypt="strict")`; everything but the life of certificates is an annotation.
    """

    @contextlib.contextmanager
    def make(*, certificate_life=10.0, before=lambda instance: None, **settings):
        pods = Pods(f"t{os.getpid()}xsoak{next(_numbers)}")
        try:
            before(pods.instance)
            pods.up(certificate_life=certificate_life)
            talk = Conversation(pods, tmp_path_factory.mktemp("soak"))
            talk.start(**settings)
            yield talk
            if request.session.testsfailed:
                for log in sorted(pods.instance.directory.rglob("*.log")):
                    print(f"--- {log}\n{log.read_text(errors='replace')[-6000:]}")
        finally:
            pods.down()

    return make


@pytest.fixture(scope="module")
def talk(talking_pods):
    """Two enrolled pods whose certificates live for ten seconds, so that they are replaced all the time."""
    with talking_pods() as conversation:
        yield conversation
