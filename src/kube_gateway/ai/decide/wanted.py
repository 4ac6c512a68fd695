"""What is looked for in the body of a request: the places that its endpoint's shape names, as far as a rule needs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from kube_gateway import _native
from kube_gateway.ai.policy.rules import (
    BudgetRule,
    DetectRule,
    LimitRule,
    RateRule,
    RegexRule,
    ReplaceRule,
    Rule,
    SizeRule,
    TextRule,
    ToolsRule,
    WordsRule,
    lanes_of,
)
from kube_gateway.ai.shape import Lane, RequestShape

What = Literal[
    "model",
    "stream",
    "usage",
    "usage_parent",
    "choices",
    "limit",
    "limit_parent",
    "below",
    "below_parent",
    "lane",
    "message",
    "tool",
    "tool_name",
    "tools",
    "tool_choice",
    "token_id",
]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One place. `value`: any scalar counts, not only strings; `any`: whatever is there."""

    what: What
    path: str
    lane: Lane | None = None
    scalar: bool = False
    any: bool = False


class Places:
    """What is looked for at one endpoint, compiled."""

    def __init__(self, shape: RequestShape, rules: Sequence[Rule]) -> None:
        self.wanted = tuple(_wanted(shape, rules))
        # Servers in Go take names of members in any case: a rule must not be avoided by an upper-case letter.
        self._finder = _native.Finder(msgspec.json.encode([_entry(one) for one in self.wanted]), ignore_case=True)

    def scan(self, body: bytes) -> _native.Document:
        """Return the document. Raises `ValueError` for what is no JSON."""
        return self._finder.scan(body)


def _entry(wanted: Wanted) -> dict[str, object]:
    if wanted.lane is not None:
        when = msgspec.to_builtins(wanted.lane.when)
        return {"name": wanted.lane.name, "path": wanted.path, "when": when, "deep": wanted.lane.deep}
    entry: dict[str, object] = {"name": wanted.what, "path": wanted.path}
    if wanted.scalar:
        entry["scalar"] = True
    if wanted.any:
        entry["any"] = True
    return entry


def _wanted(shape: RequestShape, rules: Sequence[Rule]) -> Iterator[Wanted]:
    if shape.model is not None:
        yield Wanted(what="model", path=shape.model)
    if shape.stream is not None:
        yield Wanted(what="stream", path=shape.stream, scalar=True)
    if shape.usage_option is not None:
        parent, key = shape.usage_option
        yield Wanted(what="usage_parent", path=parent, any=True)
        yield Wanted(what="usage", path=f"{parent}.{key}", scalar=True)
    if shape.choices is not None:
        yield Wanted(what="choices", path=shape.choices, scalar=True)
    yield from (Wanted(what="limit", path=path, scalar=True) for path in shape.limits)
    # Definitions of tools are many small texts, and most rules are not about them.
    definitions = any("tool_definition" in lanes_of(rule) for rule in _texts(rules))
    for lane in shape.lanes:
        if lane.name != "tool_definition" or definitions:
            yield Wanted(what="lane", path=lane.path, lane=lane)
    if any(_texts(rules)):
        yield from (Wanted(what="token_id", path=path, scalar=True) for path in shape.token_ids)
    if any(isinstance(rule, LimitRule | BudgetRule | RateRule) for rule in rules):
        yield from _around_limits(shape)
    if any(isinstance(rule, SizeRule) and rule.max_messages is not None for rule in rules):
        yield from (Wanted(what="message", path=path, any=True) for path in shape.messages)
    if any(isinstance(rule, ToolsRule) for rule in rules):
        yield from (Wanted(what="tools", path=path.removesuffix("[]"), any=True) for path in shape.tools)
        yield from (Wanted(what="tool", path=path, any=True) for path in shape.tools)
        yield from (Wanted(what="tool_name", path=path) for path in shape.tool_names)
        yield from (Wanted(what="tool_choice", path=path, any=True) for path in shape.tool_choice)


def _texts(rules: Sequence[Rule]) -> Iterator[TextRule]:
    return (rule for rule in rules if isinstance(rule, ReplaceRule | WordsRule | RegexRule | DetectRule))


def _around_limits(shape: RequestShape) -> Iterator[Wanted]:
    parents = dict.fromkeys(parent for path in shape.limits for parent in parents_of(path))
    yield from (Wanted(what="limit_parent", path=path, any=True) for path in parents)
    for path in shape.below_limit:
        yield from (Wanted(what="below_parent", path=parent, any=True) for parent in parents_of(path)[-1:])
        yield Wanted(what="below", path=path, scalar=True)


def parents_of(path: str) -> list[str]:
    """Return the objects around a member, the outermost first: `a.b.c` is in `a` and in `a.b`."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
