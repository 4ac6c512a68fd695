"""Rules for tools, as the filter of answers takes them.

Of the filter's rules the first that applies decides: one without arguments, or one of whose arguments matches, in the order
that they stand. So a tool with conditions is two of its rules: the conditions that deny before those that allow, and then
what holds if none of them matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from kube_gateway import _native
from kube_gateway.ai.policy.globs import native_regex
from kube_gateway.ai.policy.rules import Argument, ToolsRule
from kube_gateway.ai.shape import ResponseShape
from kube_gateway.policy_text import PolicyError

_ESCAPED = re.compile(r"(?P<boundary>\\[bB](\{[a-z-]+\})?)|\\.|\[(?:[^\]\\]|\\.)*\]", re.DOTALL)
"""What begins with a backslash, and whole classes of characters, in which there are no boundaries."""


def native_tools(rules: Sequence[ToolsRule]) -> bytes:
    """Return the rules in JSON."""
    return msgspec.json.encode([native for rule in rules for native in _native_rules(rule)])


def _native_rules(rule: ToolsRule) -> Iterator[dict[str, object]]:
    base = {"id": rule.name, "name": native_regex(rule.tools), "shadow": rule.mode == "shadow"}
    denied = [one for one in rule.arguments if one.deny is not None]
    allowed = [one for one in rule.arguments if one.allow is not None]
    if rule.arguments:
        yield {**base, "allow": False, "arguments": [_native_argument(one) for one in (*denied, *allowed)]}
    yield {**base, "allow": rule.action == "allow" and not allowed}


def _native_argument(argument: Argument) -> dict[str, object]:
    regex = argument.deny if argument.deny is not None else argument.allow
    return {"path": argument.path, "regex": ascii_boundaries(regex or ""), "allow": argument.allow is not None}


def ascii_boundaries(regex: str) -> str:
    """Return the regular expression with word boundaries about ASCII letters, as everywhere in policies.

    The filter's engine, which is as fast on any text, knows no others.
    """
    return _ESCAPED.sub(lambda found: f"(?-u:{found[0]})" if found["boundary"] else found[0], regex)


def check_tools(rule: ToolsRule, *, at: str) -> None:
    """Raise `PolicyError` that names the field below `at` for what the filter cannot compile."""
    try:
        _compile(rule)
    except ValueError as error:
        for index, argument in enumerate(rule.arguments):
            try:
                _compile(msgspec.structs.replace(rule, arguments=(argument,)))
            except ValueError as cause:
                reason = str(cause).removeprefix(f"tool rule {rule.name}: ")
                raise PolicyError(f"{at}.arguments[{index}]: {reason}") from None
        raise PolicyError(f"{at}.tools: {error}") from None


def _compile(rule: ToolsRule) -> None:
    _native.FilterPlan(msgspec.json.encode(ResponseShape()), patterns={}, shadow={}, tools=native_tools([rule]))
