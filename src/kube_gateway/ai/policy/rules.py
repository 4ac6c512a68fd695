"""The rules of a policy, one structure a kind.

A field that is not known is an error, and so is a combination that means nothing: a rule that does not do what its author
thinks is worse than one that is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from kube_gateway.ai.policy.quantities import seconds_of, size_of
from kube_gateway.ai.shape import LaneName

Mode = Literal["enforce", "shadow"]
Group = Literal["prompt", "answer"]
LaneOrGroup = LaneName | Group
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=100_000)]
RuleName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
Count = Annotated[int, Meta(ge=1, le=10**15)]
Lanes = Annotated[tuple[LaneOrGroup, ...], Meta(min_length=1)]
TextAction = Literal["mask", "deny"]

PROMPT: tuple[LaneName, ...] = ("user", "system", "developer", "assistant", "tool")
ANSWER: tuple[LaneName, ...] = ("output", "refusal", "reasoning", "tool_arguments")


class Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    """A part of a policy: names are written in camel case, and what is not known is refused."""


class When(Base, frozen=True, kw_only=True):
    """To which calls a rule applies: to all of them, unless one of these narrows it down.

    `models` are globs for the name that the call is sent with. `endpoints` are globs for an operation (`chat`), a dialect
    (`ollama`), or both an endpoint's dialect and name (`ollama/pull`).
    """

    models: tuple[Text, ...] = ()
    endpoints: tuple[Text, ...] = ()


class OnBlock(Base, frozen=True, kw_only=True):
    """How a refusal reaches the client.

    `form`: an `error` of the API, or an `answer` as if the model had said it. `message`: its text, in which `{rule}` is the
    rule's name; without one it says what the rule is about.
    """

    form: Literal["error", "answer"] = "error"
    message: Annotated[str, Meta(max_length=4096)] | None = None


class RuleBase(Base, frozen=True, kw_only=True, tag_field="kind"):
    """What all rules have.

    `mode: shadow`: the rule counts what it would have done, and changes nothing. `on_block`: instead of the policy's.
    """

    name: RuleName
    mode: Mode = "enforce"
    when: When = When()
    on_block: OnBlock | None = None


class ModelRule(RuleBase, frozen=True, kw_only=True, tag="model"):
    """Renames the model that is asked for, refuses it, or allows it: rules behind that one are not about it any more.

    `match` is a glob, `regex` a regular expression for the whole name, whose groups are `$1` or `${name}` in `to`. `echo`:
    which of both names the client finds in the answer.
    """

    match: Text | None = None
    regex: Text | None = None
    to: Text | None = None
    deny: bool = False
    allow: bool = False
    echo: Literal["requested", "actual"] = "requested"

    def __post_init__(self) -> None:
        _one(match=self.match is not None, regex=self.regex is not None)
        _one(to=self.to is not None, deny=self.deny, allow=self.allow)


class ReplaceRule(RuleBase, frozen=True, kw_only=True, tag="replace"):
    """Replaces text: `literal`, or what `regex` matches, whose groups are `$1` or `${name}` in `with`."""

    lanes: Lanes = ("user",)
    literal: Text | None = None
    regex: Text | None = None
    replacement: str = msgspec.field(name="with")
    ignore_case: bool = False
    whole_words: bool = False

    def __post_init__(self) -> None:
        _one(literal=self.literal is not None, regex=self.regex is not None)


class WordsRule(RuleBase, frozen=True, kw_only=True, tag="words"):
    """Masks `words`, or refuses text with one of them. `whole_words`: not as a part of a longer word."""

    words: Texts
    lanes: Lanes
    action: TextAction = "mask"
    replacement: str = "***"
    ignore_case: bool = True
    whole_words: bool = True


class RegexRule(RuleBase, frozen=True, kw_only=True, tag="regex"):
    """Masks what one of `patterns` (regular expressions) matches, or refuses text that has it."""

    patterns: Texts
    lanes: Lanes
    action: TextAction = "mask"
    replacement: str = "***"
    ignore_case: bool = False
    whole_words: bool = False


class DetectRule(RuleBase, frozen=True, kw_only=True, tag="detect"):
    """Masks personal data and secrets, or refuses text that has them; `kube-gateway ai detectors` lists what is known.

    In `replacement`, `{detector}` is the detector's name and `{hash}` stays equal for equal values.
    """

    detectors: Annotated[tuple[Text, ...], Meta(min_length=1)]
    lanes: Lanes
    action: TextAction = "mask"
    replacement: str = "[{detector}]"


class LimitRule(RuleBase, frozen=True, kw_only=True, tag="limit"):
    """Bounds the tokens of an answer to `max_tokens`.

    `inject`: also where the client set no limit. `cut`: a stream is ended at the limit too, by an estimate where the server
    does not count on the way; for servers that do not keep to what they are asked.
    """

    max_tokens: Annotated[int, Meta(ge=1, le=10**9)]
    inject: bool = True
    cut: bool = False


class Argument(Base, frozen=True, kw_only=True):
    """A condition on what a tool is called with: a regular expression that may match a part of the value at `path`.

    `path` names members as in `options.files[].name`.
    """

    path: Text
    allow: Text | None = None
    deny: Text | None = None

    def __post_init__(self) -> None:
        _one(allow=self.allow is not None, deny=self.deny is not None)


class ToolsRule(RuleBase, frozen=True, kw_only=True, tag="tools"):
    """Allows or denies tools by globs; of all such rules, the first that names a tool decides on it.

    `arguments` are conditions of an allowed tool: none of `deny` may match and, where there are `allow`, one of them has
    to. `request`: a denied tool is removed from what the model is offered, or the call is refused, or only the model's
    calls of it are denied.
    """

    tools: Texts
    action: Literal["allow", "deny"] = "deny"
    arguments: tuple[Argument, ...] = ()
    request: Literal["remove", "refuse", "pass"] = "remove"

    def __post_init__(self) -> None:
        if self.arguments and self.action == "deny":
            raise ValueError("`arguments`: they are conditions of a tool that is allowed; add `action: allow`")


class SizeRule(RuleBase, frozen=True, kw_only=True, tag="size"):
    """Refuses requests with a larger body, or with more messages."""

    max_bytes: int | str | None = None
    max_messages: Count | None = None

    def __post_init__(self) -> None:
        _any(maxBytes=self.max_bytes is not None, maxMessages=self.max_messages is not None)
        if self.max_bytes is not None:
            _checked("maxBytes", size_of, self.max_bytes)


class EndpointsRule(RuleBase, frozen=True, kw_only=True, tag="endpoints"):
    """Allows or denies kinds of calls, by globs as in `when`; of all such rules, the first that names one decides on it."""

    endpoints: Texts
    action: Literal["allow", "deny"] = "deny"


class _CountingRule(RuleBase, frozen=True, kw_only=True):
    """`reserve`: tokens that the answer of a call without a limit of its own reserves, and may have at most."""

    per: Literal["pod", "model"] = "pod"
    counts: Literal["total", "input", "output"] = "total"
    reserve: Annotated[int, Meta(ge=1, le=10**9)] = 4096


class BudgetRule(_CountingRule, frozen=True, kw_only=True, tag="budget"):
    """Allows `tokens` in each `window`, which begins at fixed times: a window of 1d at midnight UTC."""

    tokens: Count
    window: int | str

    def __post_init__(self) -> None:
        _window(self.window)


class RateRule(_CountingRule, frozen=True, kw_only=True, tag="rate"):
    """Allows `requests` and `tokens` within any `window`."""

    tokens: Count | None = None
    requests: Count | None = None
    window: int | str = "1m"

    def __post_init__(self) -> None:
        _any(tokens=self.tokens is not None, requests=self.requests is not None)
        _window(self.window)


class HookRule(RuleBase, frozen=True, kw_only=True, tag="hook"):
    """Asks a Python hook: the entry point of this name in the group `kube_gateway.ai`, made with `options`.

    `on_failure`: what happens to a call whose hook fails, or takes longer than `timeout`.
    """

    entry_point: Text
    timeout: int | str = "1s"
    on_failure: Literal["block", "allow"] = "block"
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        _checked("timeout", seconds_of, self.timeout)


TextRule = ReplaceRule | WordsRule | RegexRule | DetectRule
CountingRule = BudgetRule | RateRule
Rule = (
    ModelRule
    | ReplaceRule
    | WordsRule
    | RegexRule
    | DetectRule
    | LimitRule
    | ToolsRule
    | SizeRule
    | EndpointsRule
    | BudgetRule
    | RateRule
    | HookRule
)


def lanes_of(rule: TextRule) -> tuple[LaneName, ...]:
    """Return the lanes that a rule names, groups spelled out, each once."""
    names: dict[LaneName, None] = {}
    for lane in rule.lanes:
        match lane:
            case "prompt":
                names.update(dict.fromkeys(PROMPT))
            case "answer":
                names.update(dict.fromkeys(ANSWER))
            case _:
                names[lane] = None
    return tuple(names)


def _one(**given: bool) -> None:
    there = [f"`{name}`" for name, is_there in given.items() if is_there]
    if len(there) != 1:
        *names, last = (f"`{name}`" for name in given)
        found = f"there are {' and '.join(there)}" if there else "there is none of them"
        raise ValueError(f"it takes one of {', '.join(names)} and {last}, and {found}")


def _any(**given: bool) -> None:
    if not any(given.values()):
        raise ValueError("it takes " + " or ".join(f"`{name}`" for name in given))


def _window(text: int | str) -> None:
    if _checked("window", seconds_of, text) < 1:
        raise ValueError(f"`window`: {text!r} is less than a second")


def _checked(field: str, parse: Any, text: int | str) -> float:  # noqa: ANN401 - one of two functions
    try:
        return float(parse(text))
    except ValueError as error:
        raise ValueError(f"`{field}`: {error}") from None
