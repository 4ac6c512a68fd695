"""Names of models: which rule is about one, and what it makes of it.

Regular expressions are matched by the native core, as names come from clients: its time is linear in their length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from kube_gateway import _native
from kube_gateway.ai.dialect import Naming
from kube_gateway.ai.pattern import Pattern
from kube_gateway.ai.policy.globs import matches
from kube_gateway.ai.policy.naming import spellings
from kube_gateway.ai.policy.patterns import compiled, reason_of
from kube_gateway.ai.policy.rules import ModelRule
from kube_gateway.policy_text import PolicyError

_WHOLE = "\x00"


class Renaming(msgspec.Struct, frozen=True, kw_only=True):
    """A model rule, compiled. `whole` replaces what it matches by one character, `renamed` by the new name."""

    rule: ModelRule
    naming: Naming = "exact"
    whole: _native.Patterns | None = None
    renamed: _native.Patterns | None = None

    def matched(self, name: str) -> str | None:
        """Return the way to write a name that the rule is about; None if it is about none of them."""
        return next((way for way in spellings(name, self.naming) if self.applies(way)), None)

    def applies(self, name: str) -> bool:
        """Return whether the rule is about a model whose name is written so."""
        if self.rule.match is not None:
            return matches(self.rule.match, name, ignore_case=self.naming != "exact")
        if self.whole is None:
            return False
        text, counts, _ = self.whole.mask(name)
        return bool(counts) and text == _WHOLE

    def new_name(self, name: str) -> str:
        """Return the new name of a model that the rule is about."""
        if self.renamed is None:
            return self.rule.to or name
        return self.renamed.mask(name)[0]


class Renamed(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the way of a name: the rule, and the name after it."""

    rule: ModelRule
    name: str


def walk(renamings: Iterable[Renaming], name: str) -> Iterator[Renamed]:
    """Yield the rules about a name, in the order that they are written, each on what the ones before have made of it.

    It ends with one in force that denies or allows it.
    """
    for renaming in renamings:
        matched = renaming.matched(name)
        if matched is None:
            continue
        rule = renaming.rule
        if rule.mode == "enforce" and rule.to is not None:
            name = renaming.new_name(matched)
        yield Renamed(rule=rule, name=name)
        if rule.mode == "enforce" and rule.to is None:
            return


def renaming(rule: ModelRule, *, at: str, naming: Naming = "exact") -> Renaming:
    """Compile a model rule. Raises `PolicyError` that names the field below `at`."""
    if rule.regex is None:
        return Renaming(rule=rule, naming=naming)
    pattern = Pattern(id=rule.name, regex=rule.regex, replacement=_WHOLE, ignore_case=naming != "exact")
    try:
        whole = compiled([pattern])
        renamed = compiled([msgspec.structs.replace(pattern, replacement=rule.to or "", expand=True)])
    except ValueError as error:
        raise PolicyError(f"{at}.regex: {reason_of(error)}") from None
    return Renaming(rule=rule, naming=naming, whole=whole, renamed=renamed)
