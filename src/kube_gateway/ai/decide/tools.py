"""Which tools a model is offered. What it calls is looked at in the answer, by the filter.

Of the rules in force, the first that names a tool decides; a tool that no rule names is allowed.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from kube_gateway.ai.decide.exchange import Exchange, Found, Refused
from kube_gateway.ai.policy.globs import matches_any
from kube_gateway.ai.policy.rules import ToolsRule
from kube_gateway.ai.policy.selection import Selection

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SNAKE = re.compile("_([a-z])")
_HALF = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


class _Places:
    """What was found, by where it is: a request may offer thousands of tools."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._found = sorted(found, key=_start)
        self._starts = [_start(one) for one in self._found]

    def inside(self, outer: Found) -> list[Found]:
        """Return what is within `outer`."""
        # Values of a document are within each other, or apart: where one begins says it.
        begin, end = (bisect_left(self._starts, place) for place in (outer.hit.start, outer.hit.end))
        return self._found[begin:end]

    def any_inside(self, outer: Found) -> bool:
        """Return whether something is within `outer`."""
        begin = bisect_left(self._starts, outer.hit.start)
        return begin < len(self._starts) and self._starts[begin] < outer.hit.end


def _start(found: Found) -> int:
    return found.hit.start


def decide_tools(exchange: Exchange, selection: Selection) -> None:
    """Remove the definitions of denied tools. Raises `Refused` where the whole call is to be refused."""
    if not selection.tools:
        return
    removed: dict[str, ToolsRule] = {}
    counted: Counter[str] = Counter()
    gone: list[Found] = []
    offered = _offered(exchange)
    for tool, name in _named(exchange, offered):
        rule = _denied_by(exchange, selection.tools, name)
        if rule is None or rule.request == "pass":
            continue
        exchange.fired(rule)
        if rule.request == "refuse":
            raise Refused(rule, "tool_denied")
        removed[name] = rule
        if not (gone and gone[-1] is tool):
            counted[rule.name] += 1
            gone.append(tool)
    if not gone:
        return
    exchange.edits["tools"] = None
    for name, count in counted.items():
        exchange.remarks.append(f"{count} tool{'s' if count > 1 else ''} removed (rule {name})")
    left = _without(offered, gone)
    _remove(exchange, gone, left)
    _remove_choice(exchange, removed, left)


def _offered(exchange: Exchange) -> list[Found]:
    """Return the tools, in the order of the document: definitions, and elements that have others as their members."""
    tools = [tool for tool in exchange.found("tool") if tool.wanted.path.endswith("]") or tool.hit.kind != "array"]
    kinds = [kind for kind in exchange.found("tool_kind") if kind.hit.kind == "object" and _members(exchange, kind)]
    return sorted((*tools, *kinds), key=lambda tool: (tool.hit.start, -tool.hit.end))


def _named(exchange: Exchange, offered: list[Found]) -> Iterator[tuple[Found, str]]:
    """Yield the tools, each with its names: a server may take any of several, and by the type what has no other."""
    names, types = _Places(exchange.found("tool_name")), _Places(exchange.found("tool_type"))
    for tool in offered:
        if tool.wanted.what == "tool_kind":
            inside = _members(exchange, tool)
        else:
            places = names.inside(tool) or types.inside(tool)
            inside = list(dict.fromkeys(place.hit.text for place in places))
        yield from ((tool, name) for name in inside)


def _members(exchange: Exchange, kind: Found) -> list[str]:
    """Return the names of members that are a tool each, in camelCase."""
    definitions = {_camel(path.removesuffix("[]").rpartition(".")[2]) for path in exchange.endpoint.request.tools}
    # Halves of characters are JSON, and yet this reader takes none.
    whole = _HALF.sub(rb"\\u0041", exchange.raw(kind))
    members = msgspec.json.decode(whole, type=dict[str, msgspec.Raw])
    names = dict.fromkeys(_camel(name) for name, value in members.items() if bytes(value) != b"null")
    return [name for name in names if name not in definitions]


def _camel(name: str) -> str:
    return _SNAKE.sub(lambda found: found[1].upper(), name)


def _without(offered: list[Found], gone: list[Found]) -> list[Found]:
    """Return the tools that neither go nor are in an element that goes; all are in the order of the document."""
    end = -1
    numbers = {tool.number for tool in gone}
    left: list[Found] = []
    for tool in offered:
        if tool.number in numbers:
            end = max(end, tool.hit.end)
        elif tool.hit.start >= end:
            left.append(tool)
    return left


def _denied_by(exchange: Exchange, rules: tuple[ToolsRule, ...], name: str) -> ToolsRule | None:
    """Return the rule that denies a tool. Rules that only count are walked beside those in force."""
    counted = False
    for rule in rules:
        if not matches_any(rule.tools, name):
            continue
        if rule.mode == "enforce":
            return rule if rule.action == "deny" else None
        if not counted and rule.action == "deny" and rule.request != "pass":
            exchange.fired(rule)
        counted = True
    return None


def _remove(exchange: Exchange, gone: list[Found], left: list[Found]) -> None:
    document = exchange.document
    if document is None:
        return
    removed, kept = _Places(gone), _Places(left)
    for array in exchange.found("tools"):
        inside = removed.inside(array)
        # Servers refuse an empty list of tools.
        if inside and not kept.any_inside(array):
            document.remove(array.number)
            continue
        for tool in inside:
            document.remove(tool.number)


def _remove_choice(exchange: Exchange, names: dict[str, ToolsRule], left: list[Found]) -> None:
    """Take out a demand for a tool that is not offered any more; with no tool left, all that is said about tools."""
    if exchange.document is None:
        return
    for choice in exchange.found("tool_choice"):
        if not left or (choice.hit.kind == "object" and not names.keys().isdisjoint(_QUOTED.findall(choice.hit.text))):
            exchange.document.remove(choice.number)
