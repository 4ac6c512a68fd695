"""Hooks: found by their entry points, asked in time, and what happens when they fail."""

from __future__ import annotations

import logging
import sys
import threading
import time

import pytest
from policy_scenes import Scene, end

from kube_gateway.ai.decide.asking_hooks import transformation
from kube_gateway.ai.decide.exchange import Exchange
from kube_gateway.ai.hook_threads import HookFailed, HookThreads
from kube_gateway.ai.hooks import Block, Change, Hook
from kube_gateway.ai.policy.read import PolicyError
from kube_gateway.ai.policy.rules import HookRule

PACKAGE = """
import time
from kube_gateway.ai.hooks import Block, Change

ENDED = []

class Guard:
    def __init__(self, *, word="bad", sleep=0.0, pause=0.0, wrong=False):
        self.word, self.sleep, self.pause, self.wrong = word, sleep, pause, wrong

    def on_request(self, request):
        time.sleep(self.sleep)
        if self.wrong:
            return "nonsense"
        if any(self.word in text.text for text in request.texts):
            return Block(message=f"{request.model} may not say {self.word}")
        texts = {index: text.text.replace("cat", "dog") for index, text in enumerate(request.texts) if "cat" in text.text}
        return Change(texts=texts) if texts else None

    def on_response_text(self, lane, key, text, last):
        time.sleep(self.pause)
        return text.upper()

    def on_end(self, call):
        ENDED.append(call)

def nothing():
    return object()

def broken():
    raise RuntimeError("no licence")
"""
POINTS = (
    "[kube_gateway.ai]\nguard = example_hooks:Guard\nnothing = example_hooks:nothing\nbroken = example_hooks:broken\n"
)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with hooks, installed."""
    (tmp_path / "example_hooks.py").write_text(PACKAGE)
    info = tmp_path / "example_hooks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example-hooks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("example_hooks", None)


def scene(fields: str = "", **rule: str) -> Scene:
    more = "".join(f", {name}: {value}" for name, value in rule.items())
    return Scene(f"version: 1\nrules: [{{kind: hook, name: h, entryPoint: guard{more}{fields}}}]")


def asks(scene: Scene, text: str):
    return scene.chat({"model": "m", "messages": [{"role": "user", "content": text}]})


@pytest.mark.usefixtures("package")
class TestRequests:
    def test_a_hook_lets_pass(self):
        assert asks(scene(), "hello").body is None

    def test_a_hook_changes_texts(self):
        assert b'"the dog"' in asks(scene(), "the cat").body

    def test_a_hook_blocks_in_its_own_words(self):
        decision = asks(scene(), "a bad word")
        assert decision.reply.status == 403
        assert b"m may not say bad" in decision.reply.body

    def test_options_are_given(self):
        assert asks(scene(options="{word: hello}"), "hello").reply.status == 403

    def test_a_hook_in_shadow_mode_changes_nothing(self):
        trial = scene(mode="shadow")
        decision = asks(trial, "a bad cat")
        assert (decision.reply, decision.body) == (None, None)
        end(decision)
        assert trial.call.shadow_matches == {"h": 1}

    @pytest.mark.parametrize("fields", ["options: {sleep: 5}, timeout: 20ms", "options: {wrong: true}"])
    def test_a_hook_that_fails_blocks(self, fields, caplog):
        trial = scene(f", {fields}")
        began = time.monotonic()
        decision = asks(trial, "my secret words")
        assert time.monotonic() - began < 2
        assert decision.reply.status == 500
        assert (trial.call.blocked, trial.call.hook_failures) == ("policy_failed", {"h": 1})
        assert "connection 7: hook of rule h failed" in caplog.text
        assert "secret" not in caplog.text + decision.reply.body.decode()

    def test_or_lets_pass_if_the_policy_says_so(self):
        trial = scene(", options: {wrong: true}, onFailure: allow")
        decision = asks(trial, "hello")
        assert decision.reply is None
        end(decision)
        assert trial.call.hook_failures == {"h": 1}

    def test_the_end_of_a_call_is_told(self):
        decision = asks(scene(), "hello")
        end(decision)
        ended = sys.modules["example_hooks"].ENDED
        deadline = time.monotonic() + 5
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [call.model for call in ended] == ["m"]


@pytest.mark.usefixtures("package")
class TestAnswers:
    def transform(self, trial: Scene):
        request = trial.request("POST", "/v1/chat/completions", {"model": "m", "messages": []})
        decision = trial.engine.decide(request)
        return decision.response.start["transform"]

    def test_text_is_transformed(self):
        assert self.transform(scene())("output", "0", "hello", False) == "HELLO"

    def test_not_in_shadow_mode(self):
        assert self.transform(scene(mode="shadow"))("output", "0", "hello", False) == "hello"

    def test_a_failure_ends_the_answer(self):
        assert self.transform(scene(", options: {pause: 5}, timeout: 20ms"))("output", "0", "hello", False) is None

    def test_or_lets_the_text_pass(self):
        trial = scene(", options: {pause: 5}, timeout: 20ms, onFailure: allow")
        assert self.transform(trial)("output", "0", "hello", False) == "hello"

    def test_without_hooks_for_text_there_is_no_transformation(self):
        trial = Scene("version: 1\nrules: [{kind: hook, name: h, entryPoint: nothing}]")
        decision = asks(trial, "hello")
        assert "transform" not in decision.response.start
        request = trial.request("POST", "/v1/chat/completions", {})
        exchange = Exchange(request, *trial.engine.served[request.endpoint])
        assert transformation(exchange, ()) is None


@pytest.mark.usefixtures("package")
def test_a_hook_that_cannot_be_made_is_an_invalid_policy():
    with pytest.raises(PolicyError, match=r"rules\[0\].entryPoint: .* RuntimeError: no licence"):
        Scene("version: 1\nrules: [{kind: hook, name: h, entryPoint: broken}]")
    with pytest.raises(PolicyError, match="unexpected keyword argument 'colour'"):
        scene(options="{colour: red}")


def test_threads_that_hang_are_counted_and_nobody_waits_for_them(caplog):
    caplog.set_level(logging.DEBUG)
    threads = HookThreads(2)
    hang = threading.Event()
    for _ in range(2):
        with pytest.raises(HookFailed, match=r"longer than 0\.01 s"):
            threads.run(hang.wait, timeout=0.01)
    with pytest.raises(HookFailed, match="all 2 threads for hooks are taken"):
        threads.run(int, timeout=1.0)
    hang.set()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            assert threads.run(int, "7", timeout=1.0) == 7
        except HookFailed:
            time.sleep(0.01)
            continue
        return
    raise AssertionError("the threads never came back")


WRONG = [
    "nonsense",
    0,
    Change(texts=None),
    Change(texts={0: None}),
    Change(texts={"0": "x"}),
    Change(texts={1: "x"}),
    Change(texts={-1: "x"}),
    Change(texts={0: "half \ud83d"}),
    Change(texts=["x"]),
    Block(message=5),
    Block(message="half \ud83d"),
    SystemExit(1),
]


class Returns:
    def __init__(self, found: object) -> None:
        self.found = found

    def on_request(self, request: object) -> object:
        if isinstance(self.found, BaseException):
            raise self.found
        return self.found

    def on_response_text(self, lane: str, key: str, text: str, last: bool) -> object:
        return self.on_request(None)


@pytest.mark.parametrize("found", WRONG, ids=str)
def test_whatever_a_hook_returns_that_is_not_right_is_its_failure(monkeypatch, found):
    monkeypatch.setattr("kube_gateway.ai.policy.compile.load_hook", lambda rule, *, at: Hook(rule, Returns(found)))
    blocks = asks(scene(), "hello")
    assert blocks.reply.status == 500
    lets_pass = scene(onFailure="allow")
    decision = asks(lets_pass, "hello")
    assert (decision.reply, decision.body) == (None, None)
    end(decision)
    assert lets_pass.call.hook_failures == {"h": 1}


@pytest.mark.parametrize("found", [None, b"x", "half \ud83d", SystemExit(1)], ids=str)
def test_and_so_is_what_takes_the_place_of_text(found):
    hook = Hook(HookRule(name="h", entry_point="h"), Returns(found))
    with pytest.raises(HookFailed):
        hook.on_response_text("output", "0", "hello", last=False)


def test_what_a_hook_raises_is_told_by_its_kind_alone():
    with pytest.raises(HookFailed, match=r"^it raised ValueError$"):
        HookThreads(1).run(int, "my secret", timeout=1.0)
