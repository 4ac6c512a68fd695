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
    "best_of",
    "prompts",
    "numbers",
    "definition",
    "limit",
    "limit_parent",
    "below",
    "below_parent",
    "lane",
    "message",
    "tool",
    "tool_name",
    "tool_type",
    "tool_kind",
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
        limits = [_entry(one) for one in self.wanted if one.what in {"limit", "limit_parent"}]
        self._limits = (
            _native.Finder(msgspec.json.encode(limits)) if limits and any(map(_is_about_limits, rules)) else None
        )

    def scan(self, body: bytes) -> _native.Document:
        """Return the document. Raises `ValueError` for what is no JSON."""
        return self._finder.scan(body)

    def exact_limits(self, body: bytes) -> frozenset[int] | None:
        """Return where limits, and objects around them, begin whose names are spelt exactly, of a body that was scanned.

        None where no rule is about them.
        """
        return frozenset(hit.start for hit in self._limits.scan(body).hits) if self._limits is not None else None


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
    yield from (Wanted(what="model", path=path) for path in model_paths(shape))
    if shape.stream is not None:
        yield Wanted(what="stream", path=shape.stream, scalar=True)
    if shape.usage_option is not None:
        parent, key = shape.usage_option
        yield Wanted(what="usage_parent", path=parent, any=True)
        yield Wanted(what="usage", path=f"{parent}.{key}", scalar=True)
    yield from (Wanted(what="limit", path=path, scalar=True) for path in shape.limits)
    yield from (Wanted(what="choices", path=path, scalar=True) for path in shape.choices)
    yield from (Wanted(what="best_of", path=path, scalar=True) for path in shape.best_of)
    if shape.prompts is not None:
        yield Wanted(what="prompts", path=shape.prompts, any=True)
    # Definitions of tools are many small texts, and most rules are not about them.
    definitions = any("tool_definition" in lanes_of(rule) for rule in _texts(rules))
    for lane in shape.lanes:
        if lane.name != "tool_definition" or definitions:
            yield Wanted(what="lane", path=lane.path, lane=lane)
    if any(_texts(rules)):
        yield from (Wanted(what="token_id", path=path, scalar=True) for path in shape.token_ids)
    if any(map(_is_about_limits, rules)):
        yield from _around_limits(shape)
    if any(isinstance(rule, BudgetRule | RateRule) for rule in rules):
        yield from (Wanted(what="numbers", path=path, any=True) for path in _outermost(shape.token_ids))
        yield from (Wanted(what="definition", path=path, any=True) for path in _definitions(shape))
    if any(isinstance(rule, SizeRule) and rule.max_messages is not None for rule in rules):
        yield from (Wanted(what="message", path=path, any=True) for path in shape.messages)
    if any(isinstance(rule, ToolsRule) for rule in rules):
        yield from _tools(shape)


def model_paths(shape: RequestShape) -> tuple[str, ...]:
    """Return where models are named, the one that the call is about first."""
    return (shape.model, *shape.model_names, *shape.other_models) if shape.model is not None else ()


def _outermost(paths: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path.partition("[]")[0] for path in paths))


def _definitions(shape: RequestShape) -> Iterator[str]:
    """Yield where the definitions of tools and schemas are, each as a whole."""
    tools = _outermost(shape.tools)
    yield from tools
    lanes = (lane.path for lane in shape.lanes if lane.name == "tool_definition")
    yield from (path for path in lanes if path.partition("[]")[0] not in tools)


def _texts(rules: Sequence[Rule]) -> Iterator[TextRule]:
    return (rule for rule in rules if isinstance(rule, ReplaceRule | WordsRule | RegexRule | DetectRule))


def _is_about_limits(rule: Rule) -> bool:
    return isinstance(rule, LimitRule | BudgetRule | RateRule)


def _tools(shape: RequestShape) -> Iterator[Wanted]:
    around = dict.fromkeys(path.removesuffix("[]") for path in (*shape.tools, *shape.tool_kinds))
    yield from (Wanted(what="tools", path=path, any=True) for path in around)
    yield from (Wanted(what="tool", path=path, any=True) for path in shape.tools)
    yield from (Wanted(what="tool_kind", path=path, any=True) for path in shape.tool_kinds)
    yield from (Wanted(what="tool_name", path=path) for path in shape.tool_names)
    yield from (Wanted(what="tool_type", path=path) for path in shape.tool_types)
    yield from (Wanted(what="tool_choice", path=path, any=True) for path in shape.tool_choice)


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
