"""From the text of a policy, whatever it is about, to plain values: JSON, or YAML without its traps.

Whoever may edit a policy may write anything. So the text is bounded in size and depth; aliases, by which a few lines of
YAML become billions of values, are refused, and so are members that occur twice; and words are what the core schema of
YAML 1.2 says: `no` and `on` are text, which matters in a list of words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from kube_gateway.errors import UsageError

MOST_CHARACTERS = 2 * 1024 * 1024
_MOST_DEPTH = 32
_MOST_DIGITS = 400

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]{1,64}|0o[0-7]{1,64}", re.ASCII)
_HALF = re.compile("[\ud800-\udfff]")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)


class PolicyError(UsageError):
    """A policy cannot be read or means nothing; the message begins with the field."""


def parse(text: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value of a JSON or YAML text, None for an empty one. Raises `PolicyError`."""
    if len(text) > MOST_CHARACTERS:
        raise PolicyError(
            f"the policy has {len(text)} characters, and {MOST_CHARACTERS} at most are read",
            hint="put long lists of words into a hook",
        )
    _check_characters(text)
    text = text.removeprefix("\ufeff")
    value = _parse_json(text) if text.lstrip().startswith("{") else _parse_yaml(text)
    _check(value, 0)
    return value


def _check(value: Any, depth: int) -> None:  # noqa: ANN401
    if depth > _MOST_DEPTH:
        raise _too_deep()
    if isinstance(value, str):
        _check_characters(value)
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_characters(key)
            _check(member, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)


def _check_characters(text: str) -> None:
    """Escapes can write halves of characters, which have no form in UTF-8 and would be an error wherever they go."""
    if half := _HALF.search(text):
        raise PolicyError(f"the policy has \\u{ord(half[0]):04x} in a text, which is half of a character")


def _parse_json(text: str) -> Any:  # noqa: ANN401
    def integer(digits: str) -> int:
        # Of a longer one, int() raises what tells neither what it was nor where.
        if len(digits) > _MOST_DIGITS:
            before = text[: text.find(digits)]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
            raise PolicyError(f"line {line}, column {column}: {_too_long(digits)}")
        return int(digits)

    try:
        value = json.loads(text, object_pairs_hook=_members, parse_constant=_no_constant, parse_int=integer)
    except json.JSONDecodeError as error:
        raise PolicyError(f"the policy is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise _too_deep() from None
    return value


def _no_constant(name: str) -> Any:  # noqa: ANN401
    raise PolicyError(f"the policy is no JSON: {name} is no number")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise PolicyError(f"{twice}: the member is there twice in the same object")
    return members


def _parse_yaml(text: str) -> Any:  # noqa: ANN401
    try:
        return _Builder(yaml.parse(text, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise PolicyError(f"the policy is no YAML: {error.problem}{place}") from None
    except yaml.YAMLError as error:
        raise PolicyError(f"the policy is no YAML: {str(error).splitlines()[0]}") from None


class _Builder:
    """Values from the events of a YAML parser, in one pass."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events

    def document(self) -> Any:  # noqa: ANN401
        value = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _found(event, "a second document begins, and a policy is one")
                value = self._value(next(self._events), 0)
        return value

    def _value(self, event: Any, depth: int) -> Any:  # noqa: ANN401
        if depth > _MOST_DEPTH:
            raise _too_deep()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _found(event, "anchors and aliases are not read: write it out")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(item, depth + 1) for item in self._until(yaml.SequenceEndEvent)]
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for event in self._until(yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _found(event, "the name of a member is text")
            if event.value in members:
                raise _found(event, f"{event.value}: the member is there twice in the same mapping")
            members[event.value] = self._value(next(self._events), depth + 1)
        return members

    def _until(self, end: type) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, end):
                return
            yield event


def _scalar(event: Any) -> Any:  # noqa: ANN401
    text: str = event.value
    plain = event.implicit[0]
    if not plain:
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            raise _found(event, f"the tag {event.tag} is not read")
        return text
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        if len(text) > _MOST_DIGITS:
            raise _found(event, _too_long(text))
        # YAML 1.2 knows no octal numbers that begin with a bare 0.
        return int(text, 0) if text[:2] in {"0x", "0o"} else int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _found(event: Any, what: str) -> PolicyError:  # noqa: ANN401
    mark = event.start_mark
    return PolicyError(f"line {mark.line + 1}, column {mark.column + 1}: {what}")


def _too_long(number: str) -> str:
    return f"a number of {len(number)} digits, and {_MOST_DIGITS} at most are read"


def _too_deep() -> PolicyError:
    return PolicyError(f"the policy is nested more than {_MOST_DEPTH} deep")
