"""Tokens: the server's word, or an estimate that says so."""

from __future__ import annotations

import pytest

from kube_gateway.ai.dialect import Outcome
from kube_gateway.ai.dialects import dialects
from kube_gateway.ai.meters.call import Usage
from kube_gateway.ai.meters.usage import estimated_tokens, usage_of

BY_NAME = {dialect.name: dialect for dialect in dialects()}


def usage(dialect="openai_chat", *, prompt=0, characters=(), broken_off=False, **said):
    outcome = Outcome(usage=said, characters=dict(characters))
    return usage_of(outcome, totals=BY_NAME[dialect].totals, prompt_characters=prompt, broken_off=broken_off)


def test_the_servers_word_counts():
    assert usage(prompt=1000, characters={"output": 1000}, input=7, output=9) == Usage(input=7, output=9)


def test_without_a_word_it_is_estimated_and_says_so():
    found = usage(prompt=10, characters={"output": 5, "reasoning": 4, "tool_arguments": 3, "user": 100})
    assert found == Usage(input=3, output=3, estimated=True)


def test_a_stream_that_was_cut_has_told_its_prompt_only():
    assert usage("anthropic", input=7, characters={"output": 40}) == Usage(input=7, output=10, estimated=True)


def test_what_a_server_tells_at_the_beginning_is_not_what_a_stream_has_used_that_was_broken_off():
    broken = usage("anthropic", input=11, output=1, characters={"output": 4000}, broken_off=True)
    assert broken == Usage(input=11, output=1000, estimated=True)
    more = usage("anthropic", input=11, output=1200, characters={"output": 4000}, broken_off=True)
    assert more == Usage(input=11, output=1200)


def test_thoughts_without_an_answer_are_output():
    assert usage("gemini", input=10, reasoning=980) == Usage(input=10, output=980, reasoning=980)


def test_what_never_was_is_no_estimate():
    assert usage() == Usage()


@pytest.mark.parametrize(
    ("dialect", "said", "totals"),
    [
        ("openai_chat", {"input": 10, "output": 8, "cached_input": 4, "reasoning": 3}, (10, 8)),
        ("anthropic", {"input": 10, "output": 8, "cached_input": 4, "cache_creation_input": 2}, (16, 8)),
        ("gemini", {"input": 10, "output": 8, "cached_input": 4, "reasoning": 3}, (10, 11)),
    ],
)
def test_totals_are_totals_whatever_the_server_counts_into_them(dialect, said, totals):
    found = usage(dialect, **said)
    assert (found.input, found.output) == totals
    assert found.cached_input == 4
    assert not found.estimated


def test_a_server_that_counts_backwards_has_counted_nothing():
    assert usage(input=-5, output=-1) == Usage()


@pytest.mark.parametrize(("characters", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2)])
def test_an_estimate_is_rounded_up(characters, tokens):
    assert estimated_tokens(characters) == tokens
