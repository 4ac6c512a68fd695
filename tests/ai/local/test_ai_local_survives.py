"""Policy, model and budgets outlive workers, gateways and managers."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from ai.local.scenes import RULES, Scene, words
from kube_gateway.model.ai_report import policy_name

pytestmark = pytest.mark.root

BUDGET = f"{RULES}- {{name: day, kind: budget, tokens: 100, window: 365d, reserve: 20}}\n"
"""Each call of the scene's prompt `a b c` uses ten tokens: seven of the prompt, three of the answer."""


@pytest.fixture
def scene(instance):
    scene = Scene(instance, ai="true")
    yield scene
    scene.close()


def spend(scene, calls):
    chat = scene.chat()
    for _ in range(calls):
        assert chat.ask("a b c")["status"] == 200
    scene.wait_ai(lambda ai: ai.budgets and ai.budgets[0].used >= 10 * calls)
    return chat


def used(scene):
    (budget,) = scene.ai().budgets
    return budget.used + budget.reserved


def test_a_budget_is_spent_once_and_then_calls_are_refused(scene):
    scene.use(BUDGET)
    chat = spend(scene, 8)
    answers = [chat.ask("a b c") for _ in range(4)]
    refused = [answer for answer in answers if answer["status"] == 429]
    assert refused
    assert "day" in refused[-1]["error"]
    scene.wait_ai(lambda ai: ai.blocked.get("budget_exhausted") == len(refused))
    assert used(scene) <= 100
    assert len(scene.seen()) == 12 - len(refused)


def test_calls_side_by_side_spend_no_budget_twice(scene):
    scene.use(f"{RULES}- {{name: day, kind: budget, tokens: 100, window: 365d, reserve: 5}}\n")
    answers = []

    def ask():
        # Long enough for its estimate not to be less than what the server counts.
        answers.append(scene.chat().ask("slow 0.05 abcdefghijklmnopqrstuvwxyz"))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served = [answer for answer in answers if answer["status"] == 200]
    assert 0 < len(served) < 20
    assert len(served) == len(scene.seen())
    scene.wait_ai(lambda ai: ai.budgets and ai.budgets[0].reserved == 0)
    assert used(scene) <= 100


def test_a_worker_that_is_killed_takes_nothing_with_it(scene):
    scene.use(BUDGET)
    spend(scene, 6)
    scene.chats.pop().end()
    time.sleep(1.2)
    worker = scene.pods.gateway_processes("client")["worker"]
    scene.pods.kill_gateway("client", "worker")
    answer = scene.chat().ask("a b c")
    assert answer["status"] == 200
    assert scene.pods.gateway_processes("client")["worker"] != worker
    ai = scene.wait_ai(lambda ai: ai.budgets and used(scene) >= 70)
    assert (ai.policy, ai.revision) == (policy_name(BUDGET), 2)
    assert scene.pods.pod("client").generation == 1


def test_after_a_worker_was_killed_the_last_policy_that_was_right_is_in_force(scene):
    scene.use(words("secret"))
    scene.policy.write_text("version: 1\nrules: nonsense\n")
    deadline = time.monotonic() + 10
    while not scene.pods.pod("client").problem:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    scene.pods.kill_gateway("client", "worker")
    assert scene.chat().ask("a secret here")["text"] == "a *** here"


def test_a_gateway_that_is_killed_has_a_successor_that_goes_on_counting(scene):
    scene.use(BUDGET)
    spend(scene, 6)
    time.sleep(1.2)
    scene.pods.kill_gateway("client")
    deadline = time.monotonic() + 20
    while scene.pods.pod("client").generation != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    scene.pods.client.wait_settled("client", timeout=20)
    assert scene.chat().ask("a b c")["status"] == 200
    scene.wait_ai(lambda ai: ai.budgets and used(scene) >= 70)


def test_a_gateway_that_takes_over_has_policy_and_budgets_from_its_first_connection_on(scene):
    # After six calls there are 35 left: 17 for the prompt of the stream, 18 for its answer, which has fewer.
    scene.use(BUDGET.replace("tokens: 100", "tokens: 95"))
    old = spend(scene, 6)
    old.say("slow 1.0 one two three four five six seven eight nine ten eleven")
    # A newer gateway hears what was reported last.
    scene.wait_ai(lambda ai: ai.budgets and ai.budgets[0].reserved >= 35)
    scene.pods.upgrade("client")
    assert scene.pods.pod("client").generation == 2
    # The stream runs on in the older gateway, and what it has reserved is not there for others.
    assert scene.chat().ask("a b c")["status"] == 429
    assert old.hear()["status"] == 200
    assert "taken over from generation 1" in scene.pods.log("client")


def test_a_policy_edited_after_a_take_over_reaches_both_gateways(scene):
    scene.use(words("secret"))
    old = scene.chat()
    assert old.ask("a secret here")["text"] == "a *** here"
    scene.pods.upgrade("client")
    scene.use(words("here"))
    assert scene.chat().ask("a secret here")["text"] == "a secret ***"


def test_a_manager_that_is_started_again_finds_everything_as_it_was(scene):
    scene.use(words("secret"))
    chat = scene.chat()
    revision = scene.ai().revision
    scene.pods.kill_manager()
    assert chat.ask("a secret here")["text"] == "a *** here"
    scene.pods.up()
    scene.pods.client.wait_settled("client", timeout=20)
    assert chat.ask("a secret here")["text"] == "a *** here"
    assert scene.ai().revision == revision
    scene.edit(words("here"))
    assert chat.ask("a secret here")["text"] == "a secret ***"


def test_a_policy_as_long_as_a_config_map_is_taken(scene):
    listed = ", ".join(f"word{number:06d}x" for number in range(50_000))
    text = f"{RULES}- {{name: words, kind: words, lanes: [answer], words: [{listed}, secret]}}\n"
    assert len(text) > 600_000
    scene.pods.client.configure("client", text)
    scene.pods.client.wait_settled("client", timeout=60)
    assert scene.chat().ask("a secret word000007x")["text"] == "a *** ***"


def memory(pid):
    """Kilobytes that belong to the process alone, or its share of what does not (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_a_gateway_without_ai_control_has_none_of_it_in_memory(instance):
    scene = Scene(instance, server={"encrypt": "true"}, ai="true", encrypt="true")
    scene.chat().ask("hello")
    scene.close()
    plain, with_ai = (instance.gateway_processes(name)["worker"] for name in ("ollama", "client"))
    assert "yaml" not in Path(f"/proc/{plain}/maps").read_text()
    assert "yaml" in Path(f"/proc/{with_ai}/maps").read_text()
    assert memory(plain) < memory(with_ai)
    print(f"PSS of the workers: {memory(plain)} kB, with AI control {memory(with_ai)} kB")
