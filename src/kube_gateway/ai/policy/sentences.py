"""One sentence for each rule: what it does, to which calls, and whether it only counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from kube_gateway.ai.policy.quantities import size_of
from kube_gateway.ai.policy.rules import (
    BudgetRule,
    DetectRule,
    EndpointsRule,
    HookRule,
    LimitRule,
    ModelRule,
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
from kube_gateway.ai.shape import LaneName

_SHOWN = 5


def sentence(rule: Rule, *, lanes: Sequence[LaneName] | None = None) -> str:
    """Return what a rule does; of a rule for text, in those of `lanes` that it names."""
    where = f"in calls {' '.join(_when(rule))}, " if rule.when.models or rule.when.endpoints else ""
    shadow = " (shadow: it counts, and changes nothing)" if rule.mode == "shadow" else ""
    return f"{rule.name}: {where}{_said(rule, lanes)}{shadow}"


def _when(rule: Rule) -> list[str]:
    parts = [f"of {listed(rule.when.endpoints)}"] if rule.when.endpoints else []
    return [*parts, f"to {listed(rule.when.models)}"] if rule.when.models else parts


def _said(rule: Rule, lanes: Sequence[LaneName] | None) -> str:
    match rule:
        case ModelRule():
            return _model(rule)
        case ReplaceRule() | WordsRule() | RegexRule() | DetectRule():
            return _text(rule, lanes)
        case LimitRule():
            injected = ", also where the client set no limit" if rule.inject else ""
            cut = "; a stream is cut there" if rule.cut else ""
            return f"at most {rule.max_tokens} tokens for an answer{injected}{cut}"
        case ToolsRule():
            return _tools(rule)
        case SizeRule():
            bytes_ = f"more than {size_of(rule.max_bytes)} bytes" if rule.max_bytes is not None else ""
            messages = f"more than {rule.max_messages} messages" if rule.max_messages is not None else ""
            return f"refuses {' or '.join(part for part in (bytes_, messages) if part)}"
        case EndpointsRule():
            return f"{'allows' if rule.action == 'allow' else 'refuses'} {listed(rule.endpoints)}"
        case BudgetRule() | RateRule():
            return _counting(rule)
        case HookRule():
            after = "refused" if rule.on_failure == "block" else "let through"
            return f"asks the hook {rule.entry_point}; after {rule.timeout} without an answer the call is {after}"
        case _:
            assert_never(rule)


def _model(rule: ModelRule) -> str:
    which = rule.match if rule.match is not None else f"/{rule.regex}/"
    if rule.deny:
        return f"refuses the model {which}"
    if rule.allow:
        return f"allows the model {which}; the rules behind this one are not about it"
    echo = "the name that it asked for" if rule.echo == "requested" else "the new name"
    return f"sends {which} to {rule.to}; the client finds {echo} in the answer"


def _text(rule: TextRule, lanes: Sequence[LaneName] | None) -> str:
    where = ", ".join(lane for lane in lanes_of(rule) if lanes is None or lane in lanes)
    if isinstance(rule, ReplaceRule):
        what = repr(rule.literal) if rule.literal is not None else f"/{rule.regex}/"
        return f"puts {rule.replacement!r} in the place of {what} ({where})"
    match rule:
        case WordsRule():
            what = listed([repr(word) for word in rule.words])
        case RegexRule():
            what = listed([f"/{pattern}/" for pattern in rule.patterns])
        case DetectRule():
            what = listed(rule.detectors)
    if rule.action == "deny":
        return f"refuses text with {what} ({where})"
    return f"masks {what} with {rule.replacement!r} ({where})"


def _tools(rule: ToolsRule) -> str:
    if rule.action == "allow":
        allowed = [f"{one.path} matches /{one.allow}/" for one in rule.arguments if one.allow is not None]
        denied = [f"{one.path} matches /{one.deny}/" for one in rule.arguments if one.deny is not None]
        conditions = [f"if {' or '.join(allowed)}"] if allowed else []
        conditions += [f"unless {' or '.join(denied)}"] if denied else []
        return " ".join((f"allows {listed(rule.tools)}", *conditions))
    offered = {"remove": "they are not offered to the model", "refuse": "a call that offers one is refused", "pass": ""}
    more = f"; {offered[rule.request]}" if offered[rule.request] else ""
    return f"denies {listed(rule.tools)}{more}"


def _counting(rule: BudgetRule | RateRule) -> str:
    kind = "" if rule.counts == "total" else f"{rule.counts} "
    tokens = f"{rule.tokens} {kind}tokens" if rule.tokens is not None else ""
    requests = f"{rule.requests} requests" if isinstance(rule, RateRule) and rule.requests is not None else ""
    each = "in each" if isinstance(rule, BudgetRule) else "within any"
    per = "" if rule.per == "pod" else ", for each model"
    reserved = f"; an answer without a limit may have {rule.reserve}" if rule.tokens is not None else ""
    return f"allows {' and '.join(part for part in (requests, tokens) if part)} {each} {rule.window}{per}{reserved}"


def listed(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
