"""What happens to a call under a policy, in sentences, in the order in which it happens."""

from __future__ import annotations

import msgspec

from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.naming import is_about
from kube_gateway.ai.policy.renaming import walk
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
    ToolsRule,
    WordsRule,
    lanes_of,
)
from kube_gateway.ai.policy.schema import Policy
from kube_gateway.ai.policy.sentences import listed, sentence
from kube_gateway.ai.shape import LaneName

_PROMPT: tuple[LaneName, ...] = ("user", "system", "developer", "assistant", "tool", "tool_definition")
_ANSWER: tuple[LaneName, ...] = ("output", "refusal", "reasoning", "tool_arguments")
_TEXT = (ReplaceRule, WordsRule, RegexRule, DetectRule)


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step in the life of a call, and what is done in it."""

    title: str
    sentences: tuple[str, ...]


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the name of a model: `name` is what it is sent with, `sentence` says how that came."""

    name: str
    sentence: str
    denied: bool = False


def named(snapshot: Snapshot, model: str) -> Way:
    """Return what becomes of a call that asks for `model`, whatever kind of call it is."""
    name = model
    parts: list[str] = []
    for step in walk((snapshot.renaming(rule) for rule in snapshot.policy.rules if isinstance(rule, ModelRule)), model):
        scope = f" in calls of {', '.join(step.rule.when.endpoints)}" if step.rule.when.endpoints else ""
        if step.rule.mode == "shadow":
            parts.append(f"rule {step.rule.name} counts it{scope}")
        elif step.rule.deny:
            parts.append(f"rule {step.rule.name} refuses it{scope}")
            return Way(name=name, sentence=f"{model}: {', '.join(parts)}", denied=not scope)
        elif step.rule.allow:
            parts.append(f"rule {step.rule.name} allows it{scope}")
        else:
            name = step.name
            parts.append(f"rule {step.rule.name} sends it to {name}{scope}")
    return Way(name=name, sentence=f"{model}: {', '.join(parts) or 'is sent as it is'}")


def explain(policy: Policy, *, model: str = "") -> list[Step]:
    """Return the steps in which something is done. With `model`, only what applies to calls sent with that name."""
    rules = [rule for rule in policy.rules if not model or _applies(rule, model)]

    def told(*kinds: type[Rule]) -> list[str]:
        return [sentence(rule) for rule in rules if isinstance(rule, kinds)]

    steps = (
        ("kind of call", told(EndpointsRule)),
        ("body", _body(policy)),
        ("model", told(ModelRule)),
        ("size", told(SizeRule)),
        ("prompt", _texts(rules, _PROMPT)),
        ("tools that are offered", told(ToolsRule)),
        ("hooks", told(HookRule)),
        ("limit of the answer", told(LimitRule)),
        ("rates and budgets", told(RateRule, BudgetRule)),
        ("answer", [*_texts(rules, _ANSWER), *_tools(rules), *_usage(policy)]),
        ("refusals", _refusals(policy)),
        ("audit log", _audit(policy)),
    )
    return [Step(title=title, sentences=tuple(sentences)) for title, sentences in steps if sentences]


def _applies(rule: Rule, model: str) -> bool:
    # Some of the calls are Ollama's, which takes several names for one model.
    return not rule.when.models or is_about(rule.when.models, model, "ollama")


def _texts(rules: list[Rule], lanes: tuple[LaneName, ...]) -> list[str]:
    return [
        sentence(rule, lanes=lanes)
        for rule in rules
        if isinstance(rule, _TEXT) and any(lane in lanes for lane in lanes_of(rule))
    ]


def _body(policy: Policy) -> list[str]:
    return [f"a body beyond {policy.body_limit} is refused", f"a body that is no JSON {_unread(policy)}"]


def _unread(policy: Policy) -> str:
    if policy.on_invalid is not None:
        return "is refused" if policy.on_invalid == "block" else "passes unread"
    # For a rule about kinds of calls the body is of no matter.
    acting = [rule for rule in policy.rules if rule.mode == "enforce" and not isinstance(rule, EndpointsRule)]
    if not acting:
        return "passes unread"
    if all(rule.when.endpoints for rule in acting):
        named = dict.fromkeys(glob for rule in acting for glob in rule.when.endpoints)
        return f"is refused in calls of {listed(list(named))}, and passes unread in others"
    return "is refused"


def _tools(rules: list[Rule]) -> list[str]:
    names = [rule.name for rule in rules if isinstance(rule, ToolsRule)]
    return [f"calls of tools are held to {', '.join(names)}: the first that names the tool decides"] if names else []


def _usage(policy: Policy) -> list[str]:
    return ["streams are asked to tell their usage, unseen by the client"] if policy.ask_usage else []


def _refusals(policy: Policy) -> list[str]:
    form = "an error of the API" if policy.on_block.form == "error" else "an answer as if of the model"
    text = f", {policy.on_block.message!r}" if policy.on_block.message is not None else ""
    failure = policy.on_failure or ("block" if policy.enforcing else "pass")
    fails = "is refused" if failure == "block" else "passes"
    return [f"they reach the client as {form}{text}", f"a call that the gateway fails to check {fails}"]


def _audit(policy: Policy) -> list[str]:
    if not policy.audit.enabled:
        return ["off"]
    content = {"none": "without texts", "hash": "with a hash of each text", "full": "with all texts"}
    return [f"a line for each call, {content[policy.audit.content]}"]
