"""What applies to calls of one endpoint to one model: rules by kind, matchers by lane, the filter of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from kube_gateway import _native
from kube_gateway.ai.dialect import Endpoint, Operation
from kube_gateway.ai.hooks import Hook
from kube_gateway.ai.policy.rules import (
    BudgetRule,
    CountingRule,
    DetectRule,
    HookRule,
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
from kube_gateway.ai.policy.tool_rules import native_tools
from kube_gateway.ai.shape import LaneName, ResponseShape

MODEL_IS_USED: frozenset[Operation] = frozenset({"chat", "text_completion", "embeddings"})
"""What costs tokens; other calls are not counted against budgets and rates."""

_T = TypeVar("_T")
_Compile = Callable[[Sequence[TextRule]], _native.Patterns]


class Matchers(msgspec.Struct, frozen=True, kw_only=True):
    """Of one lane: the patterns in force, and those that only count."""

    enforced: _native.Patterns | None = None
    shadow: _native.Patterns | None = None


class Selection:
    """Rules that apply, in the order that they are written. Made under the lock of its snapshot."""

    def __init__(
        self, endpoint: Endpoint, rules: Sequence[Rule], *, hooks: Mapping[str, Hook], patterns: _Compile
    ) -> None:
        self.sizes = tuple(rule for rule in rules if isinstance(rule, SizeRule))
        self.limits = tuple(rule for rule in rules if isinstance(rule, LimitRule))
        self.tools = tuple(rule for rule in rules if isinstance(rule, ToolsRule))
        self.counting: tuple[CountingRule, ...] = tuple(
            rule for rule in rules if isinstance(rule, BudgetRule | RateRule) and endpoint.operation in MODEL_IS_USED
        )
        self.hooks = tuple(hooks[rule.name] for rule in rules if isinstance(rule, HookRule))
        self._texts = tuple(
            rule for rule in rules if isinstance(rule, ReplaceRule | WordsRule | RegexRule | DetectRule)
        )
        request_lanes = {lane.name for lane in endpoint.request.lanes}
        self.prompt = {lane: self._matchers(lane, patterns) for lane in request_lanes if self._of(lane)}
        shapes = [endpoint.response, *([endpoint.stream] if endpoint.stream is not None else [])]
        answer_lanes = {lane.name for shape in shapes for lane in shape.lanes}
        self.answer = {lane: self._matchers(lane, patterns) for lane in answer_lanes if self._of(lane)}
        self.text_hooks = tuple(hook for hook in self.hooks if hook.sees_answers)
        self.edits_answers = (
            any(matchers.enforced for matchers in self.answer.values())
            or (any(shape.tools for shape in shapes) and any(rule.mode == "enforce" for rule in self.tools))
            or (bool(answer_lanes) and any(hook.rule.mode == "enforce" for hook in self.text_hooks))
        )
        self._endpoint = endpoint
        self._plans: dict[bool, _native.FilterPlan] = {}

    def plan(self, *, streaming: bool) -> _native.FilterPlan:
        """Return the filter of answers."""
        found = self._plans.get(streaming)
        if found is None:
            shape = answer_shape(self._endpoint, streaming=streaming)
            lanes = {lane.name for lane in shape.lanes}
            found = _native.FilterPlan(
                msgspec.json.encode(shape),
                patterns={name: one.enforced for name, one in self.answer.items() if name in lanes and one.enforced},
                shadow={name: one.shadow for name, one in self.answer.items() if name in lanes and one.shadow},
                tools=native_tools(self.tools),
            )
            self._plans[streaming] = found
        return found

    def _of(self, lane: LaneName) -> tuple[TextRule, ...]:
        return tuple(rule for rule in self._texts if lane in lanes_of(rule))

    def _matchers(self, lane: LaneName, patterns: _Compile) -> Matchers:
        rules = self._of(lane)
        enforced = [rule for rule in rules if rule.mode == "enforce"]
        shadow = [rule for rule in rules if rule.mode == "shadow"]
        return Matchers(enforced=patterns(enforced) if enforced else None, shadow=patterns(shadow) if shadow else None)


def answer_shape(endpoint: Endpoint, *, streaming: bool) -> ResponseShape:
    """Return the shape of the answers to a call, with that of the other form beside it.

    Some servers do not stream though asked to, and some stream unasked: rules hold all the same.
    """
    if endpoint.stream is None or endpoint.stream == endpoint.response:
        return endpoint.response
    shapes = (endpoint.response, endpoint.stream)
    first, second = reversed(shapes) if streaming else shapes
    paths = {lane.path for lane in first.lanes}
    calls = {call.name for call in first.tools}
    return msgspec.structs.replace(
        first,
        lanes=(*first.lanes, *(lane for lane in second.lanes if lane.path not in paths)),
        ends=_joined(first.ends, second.ends),
        tools=(*first.tools, *(call for call in second.tools if call.name not in calls)),
        model=_joined(first.model, second.model),
        usage={
            kind: _joined(first.usage.get(kind, ()), second.usage.get(kind, ()))
            for kind in (*first.usage, *second.usage)
        },
        usage_event=first.usage_event or second.usage_event,
        usage_members=_joined(first.usage_members, second.usage_members),
        finish=_joined(first.finish, second.finish),
        captured={**second.captured, **first.captured},
        sequence=first.sequence or second.sequence,
        scrub=_joined(first.scrub, second.scrub),
        scrub_after=_joined(first.scrub_after, second.scrub_after),
        once=_joined(first.once, second.once),
        error=first.error or second.error,
        last=first.last or second.last,
    )


def _joined(first: tuple[_T, ...], second: tuple[_T, ...]) -> tuple[_T, ...]:
    return (*first, *(one for one in second if one not in first))
