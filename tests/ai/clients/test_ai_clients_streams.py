"""What no server does on demand: tools, images, several choices, slow streams and streams that die, by a script."""

from __future__ import annotations

import json
import time

import pytest

from ai.clients.exchange import TOOL, Question
from ai.servers.scripted.script import Call, Script
from ai.servers.world import GOVERNED, LIBRARIES

pytestmark = pytest.mark.root

WITH_TOOLS = [name for name in LIBRARIES if name != "openai_completions"]
WITH_IMAGES = [name for name in WITH_TOOLS if name != "curl"]
WITH_CHOICES = ["openai_chat", "gemini", "curl"]
MASK = {"kind": "words", "name": "mask", "words": ["banana"], "lanes": ["answer"]}


@pytest.fixture(scope="module")
def governed(world):
    world.govern()
    return world


@pytest.fixture
def upstream(governed):
    governed.scripted.forget()
    return governed.scripted


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request):
    return request.param


@pytest.fixture
def masking(governed):
    with governed.policy({"version": 1, "rules": [MASK]}):
        yield


def ask(world, library, **question):
    return world.application(library, pod=GOVERNED).ask(Question(url=world.scripted_url, **question))


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_a_policy_the_server_sees_what_it_would_see(governed, upstream, library, stream):
    upstream.play(Script())
    question = Question(url=governed.scripted_url, stream=stream, system="Be brief.", limit=50)
    with governed.policy({"version": 1, "askUsage": False}):
        answers = [governed.application(library, pod=pod).ask(question) for pod in ("client", GOVERNED)]
    assert answers[0].text == answers[1].text
    direct, through = upstream.wait_seen(2)
    assert (direct.method, direct.target, direct.body) == (through.method, through.target, through.body)
    assert direct.headers == through.headers


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_mask_over_many_pieces(governed, masking, upstream, library):
    upstream.play(Script(text=("a b", "ana", "na, a ban", "d and ba", "n", "a", "na")))
    answer = ask(governed, library, stream=True)
    assert answer.text == "a ***, a band and ***"


@pytest.mark.parametrize("library", WITH_TOOLS)
def test_arguments_of_a_tool_are_masked(governed, masking, upstream, library, stream):
    pieces = ('{"place": "Zürich", "rea', 'son": "ban', 'ana"}')
    upstream.play(Script(text=(), calls=(Call(name=TOOL, arguments=pieces),)))
    [(name, arguments)] = ask(governed, library, stream=stream, tools=True).calls
    assert (name, json.loads(arguments)) == (TOOL, {"place": "Zürich", "reason": "***"})


@pytest.mark.parametrize("library", WITH_TOOLS)
def test_a_denied_tool_is_not_offered(governed, upstream, library, stream):
    upstream.play(Script())
    denied = {"kind": "tools", "name": "no-look-ups", "tools": ["look_*"], "action": "deny"}
    with governed.policy({"version": 1, "rules": [denied]}):
        answer = ask(governed, library, stream=stream, tools=True)
    assert answer.text == "Hello there."
    [seen] = upstream.wait_seen(1)
    assert TOOL not in seen.body
    assert "look" not in seen.body


@pytest.mark.parametrize("library", WITH_TOOLS)
def test_a_call_with_denied_arguments_is_ended(governed, upstream, library, stream):
    upstream.play(Script(text=(), calls=(Call(name=TOOL, arguments=('{"place": "/etc', '/shadow"}')),)))
    allowed = {
        "kind": "tools",
        "name": "cities-only",
        "tools": [TOOL],
        "action": "allow",
        "arguments": [{"path": "place", "deny": "^/"}],
    }
    with governed.policy({"version": 1, "rules": [allowed]}):
        answer = ask(governed, library, stream=stream, tools=True)
        assert all("shadow" not in arguments for _, arguments in answer.calls)
        assert answer.failure is not None or stream
        upstream.play(Script(text=(), calls=(Call(name=TOOL, arguments=('{"place": "Zü', 'rich"}')),)))
        [(_, arguments)] = ask(governed, library, stream=stream, tools=True).calls
        assert json.loads(arguments) == {"place": "Zürich"}


@pytest.mark.parametrize("library", WITH_IMAGES)
def test_an_image_passes_untouched(governed, masking, upstream, library, stream):
    upstream.play(Script(text=("A grey ban", "ana.")))
    question = Question(url=governed.scripted_url, stream=stream, image=True)
    answers = [governed.application(library, pod=pod).ask(question) for pod in ("client", GOVERNED)]
    assert [answer.text for answer in answers] == ["A grey banana.", "A grey ***."]
    direct, through = upstream.wait_seen(2)
    assert direct.body == through.body or stream, "an image's request was changed"
    assert "iVBORw0KGgo" in through.body


@pytest.mark.parametrize("library", WITH_CHOICES)
def test_each_choice_is_masked_by_itself(governed, masking, upstream, library, stream):
    upstream.play(Script(text=("ban", "ana ", "split")))
    answer = ask(governed, library, stream=stream, choices=3)
    assert answer.failure is None
    assert answer.texts == ("*** split",) * 3


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_many_at_once(governed, masking, upstream, library, asynchronous):
    upstream.play(Script(text=("one ", "ban", "ana ", "each"), between=0.02))
    question = Question(url=governed.scripted_url, stream=True, asynchronous=asynchronous, at_once=12)
    answers = governed.application(library, pod=GOVERNED).ask_all(question)
    assert [answer.text for answer in answers] == ["one *** each"] * 12
    upstream.wait_seen(12)


@pytest.mark.parametrize("library", LIBRARIES)
def test_text_is_not_kept_waiting(governed, masking, upstream, library):
    upstream.play(Script(text=("one, ", "two, ", "three, ", "four"), between=0.5))
    answer = ask(governed, library, stream=True)
    assert answer.text == "one, two, three, four"
    assert answer.seconds > 1
    assert answer.first < answer.seconds - 0.6


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_client_that_leaves_ends_the_call(governed, masking, upstream, library):
    upstream.play(Script(text=("and ", "so ", "on "), endless=True, between=0.01))
    began = time.monotonic()
    ask(governed, library, stream=True, leave_after=3)
    left = time.monotonic() - began
    [seen] = upstream.wait_seen(1)
    assert seen.end == "client gone"
    assert seen.seconds < left + 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_server_that_dies_is_seen_to_have_died(governed, masking, upstream, library):
    upstream.play(Script(text=("one ", "two ", "three ", "four "), dies_after=3, between=0.02))
    question = Question(url=governed.scripted_url, stream=True)
    direct, through = (governed.application(library, pod=pod).ask(question) for pod in ("client", GOVERNED))
    assert (through.failure is None) == (direct.failure is None)
    if direct.failure is not None:
        assert through.failure.classes == direct.failure.classes


@pytest.mark.parametrize("library", ["anthropic_messages", "openai_chat", "gemini", "ollama_chat"])
def test_thoughts_pass(governed, masking, upstream, library, stream):
    upstream.play(Script(text=("Then ", "done."), reasoning=("First ", "I think.")))
    answer = ask(governed, library, stream=stream)
    assert answer.text == "Then done."
    assert answer.thoughts == "First I think."


@pytest.mark.parametrize("library", ["openai_chat", "openai_completions", "curl"])
def test_usage_is_asked_for_and_not_shown(governed, upstream, library):
    upstream.play(Script(text=("counted",)))
    answer = ask(governed, library, stream=True)
    assert answer.text == "counted"
    assert answer.output_tokens is None
    [seen] = upstream.wait_seen(1)
    assert seen.json()["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_budget_that_is_used_up(governed, upstream, library, stream):
    upstream.play(Script())
    rate = {"kind": "rate", "name": "two", "requests": 2, "window": "1h"}
    # A name of its own: what was counted under another policy's rule of that name still counts.
    rate["name"] = f"two-{library}-{stream}".replace("_", "-")
    with governed.policy({"version": 1, "rules": [rate]}):
        question = Question(url=governed.scripted_url, stream=stream, at_once=6)
        answers = governed.application(library, pod=GOVERNED).ask_all(question)
    assert sum(answer.failure is None for answer in answers) == 2
    assert {answer.failure.status for answer in answers if answer.failure} == {429}
    upstream.wait_seen(2)


@pytest.mark.parametrize("library", ["openai_chat", "ollama_chat"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_other_calls_pass(governed, masking, library, asynchronous):
    url, key = governed.real(library)
    application = governed.application(library, pod=GOVERNED)
    vectors = application.ask(Question(url=url, key=key, operation="embed", asynchronous=asynchronous))
    assert (vectors.failure, vectors.vectors) == (None, 2)
    models = application.ask(Question(url=url, key=key, operation="models", asynchronous=asynchronous))
    assert models.models == ("gemma2:2b", "tiny:1b")
