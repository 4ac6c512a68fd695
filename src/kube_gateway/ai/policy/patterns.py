"""What a rule about text looks for, as patterns of the native matcher."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from kube_gateway import _native
from kube_gateway.ai.detect import DETECTORS, PERSONAL, SECRETS
from kube_gateway.ai.pattern import Pattern
from kube_gateway.ai.policy.rules import DetectRule, RegexRule, ReplaceRule, TextRule, WordsRule
from kube_gateway.policy_text import PolicyError

GROUPS = {
    "personal": tuple(detector.name for detector in PERSONAL),
    "secrets": tuple(detector.name for detector in SECRETS),
    "cloud_key": ("aws_key", "gcp_key", "azure_key"),
}
"""Names for several detectors."""


def patterns_of(rule: TextRule) -> tuple[Pattern, ...]:
    """Return the patterns of one rule. Their id is the rule's name. Raises `KeyError` for a detector that is not known."""
    return tuple(pattern for _, pattern in fields_of(rule))


def fields_of(rule: TextRule) -> Iterator[tuple[str, Pattern]]:
    """Yield the patterns of one rule, each with the field that it comes from."""
    match rule:
        case ReplaceRule():
            yield (
                "literal" if rule.regex is None else "regex",
                Pattern(
                    id=rule.name,
                    literal=rule.literal,
                    regex=rule.regex,
                    ignore_case=rule.ignore_case,
                    words=rule.whole_words,
                    replacement=rule.replacement,
                    expand=rule.regex is not None,
                ),
            )
        case WordsRule() | RegexRule():
            literal = isinstance(rule, WordsRule)
            for index, text in enumerate(rule.words if isinstance(rule, WordsRule) else rule.patterns):
                yield (
                    f"{'words' if literal else 'patterns'}[{index}]",
                    Pattern(
                        id=rule.name,
                        literal=text if literal else None,
                        regex=None if literal else text,
                        ignore_case=rule.ignore_case,
                        words=rule.whole_words,
                        action=rule.action,
                        replacement=rule.replacement,
                    ),
                )
        case DetectRule():
            yield from _detected(rule)


def _detected(rule: DetectRule) -> Iterator[tuple[str, Pattern]]:
    for index, wanted in enumerate(rule.detectors):
        for name in GROUPS.get(wanted, (wanted,)):
            replacement = rule.replacement.replace("{detector}", name)
            pattern = DETECTORS[name].pattern(id=rule.name, action=rule.action, replacement=replacement)
            yield f"detectors[{index}]", pattern


def compiled(patterns: Sequence[Pattern]) -> _native.Patterns:
    """Return the matcher of `patterns`. Raises `ValueError` for one that the native core cannot compile."""
    return _native.Patterns(msgspec.json.encode(patterns))


def checked(rule: TextRule, *, at: str) -> _native.Patterns:
    """Return the matcher of one rule. Raises `PolicyError` that names the field below `at`, as `rules[2]`."""
    try:
        fields = list(fields_of(rule))
    except KeyError as error:
        raise _unknown_detector(rule, str(error.args[0]), at=at) from None
    try:
        return compiled([pattern for _, pattern in fields])
    except ValueError as error:
        for field, pattern in fields:
            try:
                compiled([pattern])
            except ValueError as cause:
                raise PolicyError(f"{at}.{field}: {reason_of(cause)}", hint=_SYNTAX) from None
        raise PolicyError(f"{at}: all patterns together: {error}", hint="make several rules of it") from None


def reason_of(error: ValueError | str) -> str:
    """Return what the native core says of a pattern, without the pattern's id."""
    return re.sub(r'^pattern "[^"]*": ', "", str(error))


_SYNTAX = "the syntax is that of Rust's regex crate: no look-around, no back-references"


def _unknown_detector(rule: TextRule, name: str, *, at: str) -> PolicyError:
    index = rule.detectors.index(name) if isinstance(rule, DetectRule) else 0
    known = ", ".join((*DETECTORS, *GROUPS))
    return PolicyError(
        f"{at}.detectors[{index}]: {name!r} is not known here; it is one of {known}",
        hint="kube-gateway ai detectors says what each finds",
    )
