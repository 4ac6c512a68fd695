"""Which tools a model is offered. What it calls is looked at in the answer, by the filter.

Of the rules in force, the first that names a tool decides; a tool that no rule names is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator

from kube_gateway.ai.decide.exchange import Exchange, Found, Refused
from kube_gateway.ai.policy.globs import matches_any
from kube_gateway.ai.policy.rules import ToolsRule
from kube_gateway.ai.policy.selection import Selection


def decide_tools(exchange: Exchange, selection: Selection) -> None:
    """Remove the definitions of denied tools. Raises `Refused` where the whole call is to be refused."""
    if not selection.tools:
        return
    removed: dict[str, ToolsRule] = {}
    gone: list[Found] = []
    for tool, name in _named(exchange):
        rule = _denied_by(exchange, selection.tools, name)
        if rule is None or rule.request == "pass":
            continue
        exchange.fired(rule)
        if rule.request == "refuse":
            raise Refused(rule, "tool_denied")
        removed[name] = rule
        gone.append(tool)
    if not gone:
        return
    exchange.edits["tools"] = None
    for rule in dict.fromkeys(removed.values()):
        count = sum(one is rule for one in removed.values())
        exchange.remarks.append(f"{count} tool{'s' if count > 1 else ''} removed (rule {rule.name})")
    left = [tool for tool in exchange.found("tool") if tool not in gone]
    _remove(exchange, gone, left)
    _remove_choice(exchange, removed, left)


def _named(exchange: Exchange) -> Iterator[tuple[Found, str]]:
    """Yield the tools, each with its name: of the places where one can be, the first in which something is."""
    order = exchange.endpoint.request.tool_names
    for tool in exchange.found("tool"):
        names = [name for name in exchange.found("tool_name") if tool.holds(name)]
        if names:
            yield tool, min(names, key=lambda name: order.index(name.wanted.path)).hit.text


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
    for array in exchange.found("tools"):
        inside = [tool for tool in gone if array.holds(tool)]
        # Servers refuse an empty list of tools.
        if inside and not any(array.holds(tool) for tool in left):
            document.remove(array.number)
            continue
        for tool in inside:
            document.remove(tool.number)


def _remove_choice(exchange: Exchange, names: dict[str, ToolsRule], left: list[Found]) -> None:
    """Take out a demand for a tool that is not offered any more; with no tool left, all that is said about tools."""
    if exchange.document is None:
        return
    for choice in exchange.found("tool_choice"):
        if not left or (choice.hit.kind == "object" and any(f'"{name}"' in choice.hit.text for name in names)):
            exchange.document.remove(choice.number)
