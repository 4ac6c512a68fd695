"""The demo's chat page in a real browser, in a pod without a gateway and in one whose calls are under control."""

from __future__ import annotations

import pytest

from ai.clients.browser import ChatPage, part
from ai.servers.ollama import LARGE, SMALL
from ai.servers.voices import GEMMA, TINY
from ai.servers.world import GOVERNED

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def page(world, tmp_path_factory):
    with ChatPage(world, tmp_path_factory.mktemp("page")) as page:
        yield page


def test_the_answer_is_streamed(page):
    card = page.ask("What are you?")
    assert part(card, "p") == TINY.answer("?")
    assert int(card.get_attribute("data-pieces")) > 10
    assert part(card, "h2") == SMALL
    assert "tokens" in part(card, "footer")
    assert page.complaints() == []
    page.picture("streamed")


def test_the_model_can_be_chosen(page):
    page.load(LARGE)
    card = page.ask("What are you?")
    assert part(card, "p") == GEMMA.answer("?")
    assert part(card, "h2") == LARGE
    page.picture("larger")


def test_markup_in_an_answer_is_text(page):
    page.load()
    card = page.ask("<img src=x onerror=alert(1)>?")
    assert "<b>" in part(card, "p")
    assert page.complaints() == []


def test_what_the_server_refuses_is_told(page):
    page.load("no-such-model")
    page.browser.execute_script("document.getElementById('model').append(new Option('missing:1b'))")
    page.browser.execute_script("document.getElementById('model').value = 'missing:1b'")
    card = page.ask("Anybody?")
    assert "not found" in part(card, ".refusal")
    assert part(card, "footer") == "Refused with status 404"
    page.picture("refused")


@pytest.fixture(scope="module")
def governed(world, tmp_path_factory):
    """The page in the pod `governed`. It is opened before any policy and never loaded again."""
    world.govern()
    with ChatPage(world, tmp_path_factory.mktemp("governed"), pod=GOVERNED) as page:
        yield page


def test_without_a_policy_the_page_is_as_it_was(governed):
    card = governed.ask("What are you?")
    assert part(card, "p") == TINY.answer("?")
    assert int(card.get_attribute("data-pieces")) > 10


def test_another_model_answers_the_same_page(world, governed):
    rename = {"kind": "model", "name": "large", "match": "*", "to": LARGE}
    with world.policy({"version": 1, "rules": [rename]}):
        card = governed.ask("What are you?")
    assert part(card, "p") == GEMMA.answer("?")
    assert part(card, "h2") == SMALL, "the page is told the name that it asked for"
    governed.picture("renamed")


def test_a_banned_word_is_masked_while_the_answer_streams(world, governed):
    with world.policy({"response": {"bannedWords": ["banana"]}}):
        card = governed.ask("What are you?")
    assert part(card, "p") == TINY.answer("?").replace("banana", "***")
    assert int(card.get_attribute("data-pieces")) > 10
    governed.picture("masked")


def test_a_blocked_prompt_is_shown_as_refused(world, governed):
    rule = {"kind": "words", "name": "secrets", "words": ["blueberry"], "lanes": ["user"], "action": "deny"}
    with world.policy({"version": 1, "rules": [rule]}):
        card = governed.ask("Tell me about blueberry pancakes.")
        assert "kube-gateway says no" in part(card, ".refusal")
        assert part(card, "footer") == "Refused with status 403"
        governed.picture("blocked")
        assert part(governed.ask("What are you?"), "p") == TINY.answer("?")


def test_a_block_as_an_answer_is_an_answer(world, governed):
    with world.policy({"request": {"block": True}}):
        card = governed.ask("What are you?")
    assert part(card, "p") == "kube-gateway says no"
    assert governed.complaints() == []


def test_an_answer_that_is_ended_in_the_middle_ends_well(world, governed):
    rule = {"kind": "words", "name": "word", "words": ["banana"], "lanes": ["output"], "action": "deny"}
    with world.policy({"version": 1, "rules": [rule]}):
        card = governed.ask("What are you?")
    assert part(card, "p") == TINY.answer("?").partition("banana")[0]
    assert "Ended by a filter" in part(card, "footer")
    governed.picture("ended")
