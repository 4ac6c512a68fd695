"""The demo's chat page in a real browser."""

from __future__ import annotations

import pytest

from ai.clients.browser import ChatPage, part
from ai.servers.ollama import LARGE, SMALL
from ai.servers.voices import GEMMA, TINY

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
