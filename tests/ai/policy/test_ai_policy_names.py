"""Globs and regular expressions for names, which clients choose."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.ai.policy.globs import matches, native_regex
from kube_gateway.ai.policy.naming import counted_name, spellings
from kube_gateway.ai.policy.renaming import renaming
from kube_gateway.ai.policy.rules import ModelRule, ToolsRule
from kube_gateway.ai.policy.tool_rules import check_tools
from properties import cases

parts = st.sampled_from(["*", "?", "a", "b", "-", "[ab]", "[!a]", "[", "]", ".", "\n", "é", "[a-c]", "+", "\\"])
names = st.text(st.sampled_from("ab-c[].\né+\\"), max_size=12)


@cases(1000)
@given(glob=st.lists(parts, max_size=6).map("".join), name=names)
def test_the_native_form_of_a_glob_is_about_the_same_names(glob, name):
    assert (re.fullmatch(native_regex([glob]), name) is not None) == matches(glob, name)


@pytest.mark.parametrize(
    ("regex", "name", "whole"),
    [
        ("gpt-4", "gpt-4", True),
        ("gpt-4", "gpt-40", False),
        ("gpt-4|gpt-40", "gpt-40", True),
        ("(?i)GPT.*", "gpt-4\n", False),
        ("(?s).*", "a\nb", True),
        (".*", "\x00", True),
        ("x", "\x00", False),
        ("x", "\x00x", False),
        ("[^x]*", "y" * 5000, True),
        ("x", "", False),
    ],
)
def test_a_regular_expression_is_about_whole_names(regex, name, whole):
    assert renaming(ModelRule(name="r", regex=regex, to="z"), at="rules[0]").applies(name) is whole


def test_long_names_take_no_time_and_hide_from_no_rule():
    name = "a" * 100_000
    began = time.process_time()
    assert matches("*", name)
    assert not matches("*a*a*a*a*a*b", name)
    assert time.process_time() - began < 1


def test_groups_of_a_name_are_repeated():
    rule = renaming(ModelRule(name="r", regex="(?<who>[a-z]+)-([0-9]+)", to="$2/${who}"), at="rules[0]")
    assert rule.new_name("gpt-4") == "4/gpt"


@cases(300)
@given(glob=st.lists(parts, min_size=1, max_size=6).map("".join))
def test_the_native_core_takes_every_glob(glob):
    check_tools(ToolsRule(name="t", tools=(glob,)), at="rules[0]")


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("Llama3", "llama3"),
        ("registry.ollama.ai/library/llama3:LATEST", "llama3"),
        ("http://registry.ollama.ai/me/own:1", "me/own:1"),
        ("hf.co/library/llama3", "hf.co/library/llama3"),
        ("a/library/registry.ollama.ai/x", "a/library/registry.ollama.ai/x"),
        ("a" * 5000, "a" * 5000),
        ("", ""),
    ],
)
def test_a_name_of_ollama_counts_as_one_however_it_is_written(name, counted):
    ways = spellings(name, "ollama")
    assert ways[0] == name
    assert {counted_name(way, "ollama") for way in ways} == {counted}
    assert spellings(name, "exact") == (name,)
