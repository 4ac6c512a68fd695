"""What is allowed in a policy and yet most likely not meant."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

import msgspec

from kube_gateway.ai.dialect import Dialect, Endpoint
from kube_gateway.ai.policy.compile import names
from kube_gateway.ai.policy.globs import matches
from kube_gateway.ai.policy.patterns import checked, reason_of
from kube_gateway.ai.policy.quantities import size_of
from kube_gateway.ai.policy.renaming import renaming
from kube_gateway.ai.policy.rules import (
    BudgetRule,
    DetectRule,
    EndpointsRule,
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
from kube_gateway.ai.policy.schema import Policy

_Served = Sequence[tuple[Dialect, Endpoint]]
_MOST_OF_A_KIND = 5


class Remark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`at` is the field, as `rules[2].words`; `rule` the rule's name, empty where it is about none."""

    at: str
    message: str
    rule: str = ""
    hint: str = ""


def lint(policy: Policy, *, served: _Served) -> list[Remark]:
    """Return remarks in the order of the rules. The policy compiles; `served` are all endpoints there are."""
    remarks: list[Remark] = []
    for index, rule in enumerate(policy.rules):
        at = f"rules[{index}]"
        remarks += _reach(rule, policy.rules[:index], at=at)
        remarks += _twins(rule, policy.rules[:index], at=at)
        remarks += _endpoints(rule, served, at=at)
        if isinstance(rule, ReplaceRule | WordsRule | RegexRule | DetectRule):
            remarks += _lanes(rule, served, at=at)
            remarks += _patterns(rule, at=at)
        if isinstance(rule, WordsRule):
            remarks += _words(rule, at=at)
        remarks += _numbers(rule, policy, at=at)
    return [*remarks, *_whole(policy)]


def _reach(rule: Rule, before: Sequence[Rule], *, at: str) -> Iterator[Remark]:
    """A rule that another one before it leaves nothing for."""
    for index, other in enumerate(before):
        if other.mode == "shadow" or not _covers_calls(other, rule):
            continue
        if isinstance(other, EndpointsRule) and other.action == "deny" and "*" in other.endpoints:
            said = "refuses all these calls"
        elif _decides_before(other, rule, behind=before[index:]):
            said = "has decided by then"
        elif isinstance(other, LimitRule) and isinstance(rule, LimitRule) and other.max_tokens <= rule.max_tokens:
            said = f"has made it {other.max_tokens} by then"
        else:
            continue
        hint = f"move it before rules[{index}], or take it out"
        yield Remark(at=at, rule=rule.name, message=f"never acts: rules[{index}] ({other.name}) {said}", hint=hint)
        return


def _decides_before(other: Rule, rule: Rule, *, behind: Sequence[Rule]) -> bool:
    """Whether `other` leaves nothing for `rule`; `behind` are the rules from `other` on up to `rule`."""
    if isinstance(other, ModelRule) and isinstance(rule, ModelRule):
        if other.to is not None and rule.to is None:
            # What is never renamed, and the model of an annotation, are denied and allowed all the same.
            return False
        covered = _covers_names(other, rule)
        return covered and not any(_may_become_one_of(one, rule) for one in behind if isinstance(one, ModelRule))
    if isinstance(other, ToolsRule) and isinstance(rule, ToolsRule):
        return all(any(_covers(wide, narrow) for wide in other.tools) for narrow in rule.tools)
    if isinstance(other, EndpointsRule) and isinstance(rule, EndpointsRule):
        return all(any(_covers(wide, narrow) for wide in other.endpoints) for narrow in rule.endpoints)
    return False


def _covers_names(wide: ModelRule, narrow: ModelRule) -> bool:
    if narrow.match is None:
        return wide.regex is not None and wide.regex == narrow.regex
    return wide.match is not None and _covers(wide.match, narrow.match)


def _may_become_one_of(rename: ModelRule, rule: ModelRule) -> bool:
    """Whether what `rename` makes of a name may be one that `rule` is about."""
    if rename.to is None or rename.mode == "shadow":
        return False
    if rename.regex is not None and "$" in rename.to:
        return True
    return renaming(rule, at="", naming="ollama").matched(rename.to) is not None


def _covers(wide: str, narrow: str) -> bool:
    """Whether `wide` is about all that `narrow` is about, as far as that is easily told."""
    return wide in {narrow, "*"} or (not any(one in narrow for one in "*?[") and matches(wide, narrow))


def _covers_calls(wide: Rule, narrow: Rule) -> bool:
    """Whether one rule applies to all calls that the other applies to."""
    pairs = ((wide.when.models, narrow.when.models), (wide.when.endpoints, narrow.when.endpoints))
    return all(
        not wide_globs
        or (bool(narrow_globs) and all(any(_covers(one, other) for one in wide_globs) for other in narrow_globs))
        for wide_globs, narrow_globs in pairs
    )


def _twins(rule: Rule, before: Sequence[Rule], *, at: str) -> Iterator[Remark]:
    same = msgspec.structs.replace(rule, name="x", mode="enforce")
    for index, other in enumerate(before):
        if type(other) is not type(rule) or msgspec.structs.replace(other, name="x", mode="enforce") != same:
            continue
        said = "is the same" if other.mode == rule.mode else f"is the same, in mode {other.mode}"
        hint = "take one of them out" if other.mode == rule.mode else "a rule in force counts too: take the other out"
        yield Remark(at=at, rule=rule.name, message=f"rules[{index}] ({other.name}) {said}", hint=hint)
        return


def _endpoints(rule: Rule, served: _Served, *, at: str) -> Iterator[Remark]:
    fields = {"when.endpoints": rule.when.endpoints}
    if isinstance(rule, EndpointsRule):
        fields["endpoints"] = rule.endpoints
    for field, globs in fields.items():
        for index, glob in enumerate(globs):
            if not any(names(one, glob) for one in served):
                yield Remark(
                    at=f"{at}.{field}[{index}]",
                    rule=rule.name,
                    message=f"{glob!r} names no kind of call",
                    hint="an operation (chat), a dialect (ollama), or both (ollama/pull)",
                )


def _lanes(rule: TextRule, served: _Served, *, at: str) -> Iterator[Remark]:
    chosen = [
        endpoint
        for dialect, endpoint in served
        if not rule.when.endpoints or any(names((dialect, endpoint), glob) for glob in rule.when.endpoints)
    ]
    shapes = [
        shape
        for endpoint in chosen
        for shape in (endpoint.request, endpoint.response, endpoint.stream)
        if shape is not None
    ]
    for lane in lanes_of(rule):
        found = [one for shape in shapes for one in shape.lanes if one.name == lane]
        if chosen and not found and lane in rule.lanes:
            said = f"none of the calls that it applies to has text in the lane {lane!r}"
        elif found and all(one.immutable for one in found):
            said = f"the text in the lane {lane!r} is signed, and stays as it is"
        else:
            continue
        yield Remark(at=f"{at}.lanes", rule=rule.name, message=said)


def _patterns(rule: TextRule, *, at: str) -> Iterator[Remark]:
    warnings = checked(rule, at=at).warnings
    for warning in warnings[:_MOST_OF_A_KIND]:
        yield Remark(at=at, rule=rule.name, message=reason_of(warning))
    if len(warnings) > _MOST_OF_A_KIND:
        yield Remark(at=at, rule=rule.name, message=f"and {len(warnings) - _MOST_OF_A_KIND} more like that")


def _numbers(rule: Rule, policy: Policy, *, at: str) -> Iterator[Remark]:
    if (
        isinstance(rule, SizeRule)
        and rule.max_bytes is not None
        and size_of(rule.max_bytes) > size_of(policy.body_limit)
    ):
        said = f"never acts: bodyLimit refuses bodies beyond {policy.body_limit} before"
        yield Remark(at=f"{at}.maxBytes", rule=rule.name, message=said, hint="raise bodyLimit")
    if not isinstance(rule, BudgetRule | RateRule) or rule.tokens is None or rule.counts == "input":
        return
    if rule.reserve >= rule.tokens:
        yield Remark(
            at=f"{at}.reserve",
            rule=rule.name,
            message=f"a call without a limit of its own reserves {rule.reserve} of {rule.tokens} tokens: all there is",
            hint="one such call at a time can run; make it less",
        )


def _words(rule: WordsRule, *, at: str) -> Iterator[Remark]:
    words = [word.casefold() if rule.ignore_case else word for word in rule.words]
    first: dict[str, int] = {}
    found: list[Remark] = []
    for index, word in enumerate(words):
        there = first.setdefault(word, index)
        if there != index:
            said = f"{rule.words[index]!r} is there already, as words[{there}]"
            found.append(Remark(at=f"{at}.words[{index}]", rule=rule.name, message=said))
    if not rule.whole_words:
        found += (
            Remark(
                at=f"{at}.words[{index}]",
                rule=rule.name,
                message=f"{rule.words[index]!r} has {rule.words[inner]!r} (words[{inner}]) in it, which is enough to match",
            )
            for index, inner in _inside(words)
        )
    yield from found[:_MOST_OF_A_KIND]
    if len(found) > _MOST_OF_A_KIND:
        yield Remark(
            at=f"{at}.words", rule=rule.name, message=f"and {len(found) - _MOST_OF_A_KIND} more words like that"
        )


def _inside(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield words that have another word in them; by their parts, as there may be many words."""
    index_of = {word: index for index, word in reversed(list(enumerate(words)))}
    lengths = sorted({len(word) for word in words})
    for index, word in enumerate(words):
        parts = (
            word[begin : begin + length]
            for length in lengths
            if length < len(word)
            for begin in range(len(word) - length + 1)
        )
        inner = next((part for part in parts if part in index_of), None)
        if inner is not None:
            yield index, index_of[inner]


def _whole(policy: Policy) -> Iterator[Remark]:
    counting = [rule for rule in policy.rules if getattr(rule, "counts", None) is not None]
    if not policy.ask_usage and any(getattr(rule, "tokens", None) for rule in counting):
        yield Remark(
            at="askUsage",
            message="tokens of streams are estimated where a server does not tell them unasked",
            hint="leave askUsage on, as rules count tokens",
        )
    if policy.metrics.otlp_endpoint and importlib.util.find_spec("opentelemetry") is None:
        yield Remark(
            at="metrics.otlpEndpoint",
            message="OpenTelemetry is not installed here",
            hint="pip install 'kube-gateway[otel]'",
        )
