"""What masking is, written down as slowly and plainly as its definition, with none of the machinery that is tested.

A pattern is a tree. What may still follow after some text is a set of trees (partial derivatives, V. Antimirov, 1996), so
both questions have plain answers: a text matches if what may follow can be empty, and a match may still become longer if
what may follow can be something.
"""

import dataclasses
import hashlib
import hmac
import re
from collections import Counter
from functools import cache


@dataclasses.dataclass(frozen=True)
class Of:
    """One of these characters."""

    characters: str


@dataclasses.dataclass(frozen=True)
class Sequence:
    parts: tuple["Tree", ...]


@dataclasses.dataclass(frozen=True)
class Either:
    branches: tuple["Tree", ...]


@dataclasses.dataclass(frozen=True)
class Times:
    tree: "Tree"
    least: int
    most: int | None


Tree = Of | Sequence | Either | Times
EMPTY = Sequence(())


@cache
def regex(tree: Tree) -> str:
    match tree:
        case Of(characters):
            return "[" + "".join(re.escape(character) for character in characters) + "]"
        case Sequence(parts):
            return "".join(regex(part) for part in parts)
        case Either(branches):
            return "(?:" + "|".join(regex(branch) for branch in branches) + ")"
        case Times(inner, least, most):
            return f"(?:{regex(inner)}){{{least},{'' if most is None else most}}}"


@cache
def can_be_empty(tree: Tree) -> bool:
    match tree:
        case Of():
            return False
        case Sequence(parts):
            return all(can_be_empty(part) for part in parts)
        case Either(branches):
            return any(can_be_empty(branch) for branch in branches)
        case Times(inner, least, _):
            return least == 0 or can_be_empty(inner)


@cache
def can_be_something(tree: Tree) -> bool:
    match tree:
        case Of(characters):
            return bool(characters)
        case Sequence(parts):
            return any(can_be_something(part) for part in parts)
        case Either(branches):
            return any(can_be_something(branch) for branch in branches)
        case Times(inner, _, most):
            return most != 0 and can_be_something(inner)


@cache
def after(tree: Tree, character: str) -> frozenset[Tree]:
    """What may follow in `tree` after `character`."""
    match tree:
        case Of(characters):
            return frozenset({EMPTY} if character in characters else ())
        case Sequence(()):
            return frozenset()
        case Sequence(parts):
            rest = parts[1:]
            found = frozenset(Sequence((first, *rest)) for first in after(parts[0], character))
            return found | after(Sequence(rest), character) if can_be_empty(parts[0]) else found
        case Either(branches):
            return frozenset().union(*(after(branch, character) for branch in branches))
        case Times(_, _, 0):
            return frozenset()
        case Times(inner, least, most):
            again = Times(inner, max(least - 1, 0), None if most is None else most - 1)
            return frozenset(Sequence((first, again)) for first in after(inner, character))


@dataclasses.dataclass(frozen=True)
class Rule:
    """A pattern of the policy, with a tree in the place of the regular expression."""

    id: str
    tree: Tree
    words: bool = False
    check: str | None = None
    action: str = "mask"
    replacement: str = "***"

    def described(self) -> dict[str, object]:
        described = {"id": self.id, "regex": regex(self.tree), "words": self.words, "action": self.action}
        return described | {"replacement": self.replacement} | ({"check": self.check} if self.check else {})

    def ends(self, text: str, start: int, *, ended: bool) -> tuple[list[int], bool]:
        """Where matches that begin at `start` end, and whether more text could bring another one."""
        if self.words and start and is_word(text[start - 1]):
            return [], False
        left = frozenset({self.tree})
        found = []
        for end in range(start + 1, len(text) + 1):
            left = frozenset().union(*(after(tree, text[end - 1]) for tree in left))
            if not any(can_be_empty(tree) for tree in left):
                continue
            if end == len(text) and self.words and not ended:
                return found, True
            if not self.words or end == len(text) or not is_word(text[end]):
                found.append(end)
        return found, not ended and any(can_be_something(tree) for tree in left)

    def counts(self, matched: str) -> bool:
        return {None: lambda _: True, "luhn": luhn, "iban": iban}[self.check](matched)


def is_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


def luhn(matched: str) -> bool:
    digits = [int(character) for character in matched if character in "0123456789"]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    total = sum(digits[-1::-2]) + doubled
    return len(digits) > 1 and total > 0 and total % 10 == 0 and len(matched.encode()) <= 128


def iban(matched: str) -> bool:
    characters = [character for character in matched if character.isascii() and character.isalnum()]
    moved = characters[4:] + characters[:4]
    return len(characters) > 4 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


@dataclasses.dataclass
class Walked:
    """`kept` are the places whose characters stay, or the replacement that stands for a match."""

    kept: list[int | str]
    held_from: int
    matches: Counter[str]
    denied: str | None = None

    def text(self, characters: list[str] | str) -> str:
        return "".join(characters[part] if isinstance(part, int) else part for part in self.kept)


def walk(text: str, rules: list[Rule], *, ended: bool, key: bytes = b"") -> Walked:
    walked = Walked([], 0, Counter())
    start = 0
    while start < len(text):
        found = [(rule, *rule.ends(text, start, ended=ended)) for rule in rules]
        if any(more for _, _, more in found):
            break
        candidates = [
            (end, -number)
            for number, (rule, ends, _) in enumerate(found)
            for end in ends
            if rule.counts(text[start:end])
        ]
        if not candidates:
            walked.kept.append(start)
            start += 1
            continue
        end, number = max(candidates)
        rule = rules[-number]
        walked.matches[rule.id] += 1
        if rule.action == "deny":
            walked.denied = rule.id
            start = len(text)
            break
        digest = hmac.new(key, text[start:end].encode(), hashlib.sha256).hexdigest()[:8]
        walked.kept.append(rule.replacement.replace("{hash}", digest))
        start = end
    walked.held_from = start
    return walked
