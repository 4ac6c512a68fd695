"""Each library and each server do without us what the other tests expect of them."""

from __future__ import annotations

import json

import pytest

from ai.clients.exchange import TOOL, Question
from ai.servers.ollama import LARGE, SMALL
from ai.servers.scripted.script import Call, Script
from ai.servers.voices import GEMMA, TINY
from ai.servers.world import LIBRARIES

pytestmark = pytest.mark.root


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def asynchronous(request):
    return request.param


def test_a_real_server_says_what_its_model_says(world, library, stream, asynchronous):
    url, key = world.real(library)
    for model, voice in ((SMALL, TINY), (LARGE, GEMMA)):
        question = Question(url=url, key=key, model=model, stream=stream, asynchronous=asynchronous)
        answer = world.application(library).ask(question)
        assert answer.text == voice.answer(question.user)
        assert not stream or len(answer.pieces) > 5


def test_the_scripted_upstream_is_understood(world, library, stream, asynchronous):
    world.scripted.play(Script(text=("Grüße", " from", " <nobody>")))
    world.scripted.forget()
    question = Question(url=world.scripted_url, stream=stream, asynchronous=asynchronous)
    answer = world.application(library).ask(question)
    assert answer.text == "Grüße from <nobody>"
    assert answer.model == SMALL
    [seen] = world.scripted.wait_seen(1)
    assert seen.end == "answered"


@pytest.mark.parametrize("library", [name for name in LIBRARIES if name != "openai_completions"])
def test_a_tool_call_arrives(world, library, stream):
    pieces = ('{"pla', 'ce": "Zü', 'rich"}')
    world.scripted.play(Script(text=(), calls=(Call(name=TOOL, arguments=pieces),)))
    answer = world.application(library).ask(Question(url=world.scripted_url, stream=stream, tools=True))
    assert answer.failure is None
    [(name, arguments)] = answer.calls
    assert (name, json.loads(arguments)) == (TOOL, {"place": "Zürich"})
