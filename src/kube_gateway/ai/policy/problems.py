"""Words for what is wrong with a policy: which field, what was found there, and what could be there instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from kube_gateway.ai.policy.rules import Base, Rule
from kube_gateway.ai.policy.schema import Policy
from kube_gateway.policy_text import PolicyError

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_MISSING = re.compile(r"Object missing required field `(.*)`")
_OWN_FIELD = re.compile(r"`(?P<field>[A-Za-z0-9.\[\]]+)`: (?P<said>.*)", re.DOTALL)


def problem(message: str, value: Any) -> PolicyError:  # noqa: ANN401 - any JSON value
    """Return the error for what msgspec says of `value`."""
    if not isinstance(value, dict):
        return PolicyError(f"a policy is an object with members, and this is {_kind(value)}", hint=_hint("version"))
    place = _PLACE.search(message)
    path = place[1] if place else ""
    said = _PLACE.sub("", message)
    found = _at(value, path)
    if unknown := _UNKNOWN.fullmatch(said):
        close = difflib.get_close_matches(unknown[1], _names_at(path, value), n=1)
        path, said = _join(path, unknown[1]), "no such field" + (f", did you mean {close[0]}?" if close else "")
    elif missing := _MISSING.fullmatch(said):
        path, said = _join(path, missing[1]), "it is missing"
    elif own := _OWN_FIELD.fullmatch(said):
        path, said = _join(path, own["field"]), own["said"].replace("`", "")
    elif said.startswith(("Invalid enum value", "Invalid value")):
        allowed = list(_allowed(path, value))
        known = f"; it is one of {', '.join(map(str, allowed))}" if allowed else ""
        said = f"{_shown(found)} is not known here{known}"
    elif "matching regex" in said and path.endswith("Endpoint"):
        said = f"{_shown(found)} is no address like http://collector:4318"
    elif "matching regex" in said:
        said = f"{_shown(found)} is no name: use letters, digits, dots, dashes and underscores, 63 at most"
    else:
        said = said.replace("`", "").replace("Expected", "expected")
    return PolicyError(f"{path}: {said}" if path else said, hint=_hint(path))


def _hint(path: str) -> str | None:
    return "begin it with `version: 1`" if path == "version" else "kube-gateway ai policy schema prints what there is"


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def _kind(value: Any) -> str:  # noqa: ANN401
    return {list: "a list", str: "text", bool: "true or false"}.get(type(value), "a number")


def _shown(value: Any) -> str:  # noqa: ANN401
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _steps(path: str) -> list[str | int]:
    return [int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"\[\d+\]|[^.\[\]]+", path)]


def _at(value: Any, path: str) -> Any:  # noqa: ANN401
    for step in _steps(path):
        if isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        elif isinstance(step, str) and isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return value


def _structs_at(path: str, value: Any) -> Iterator[type[Base]]:  # noqa: ANN401
    """The structures that an object at `path` may be."""
    kinds: list[type[Base]] = [Policy]
    steps: list[str | int] = []
    for step in _steps(path):
        steps.append(step)
        kinds = [inner for kind in kinds for inner in _fields(kind, step)]
        here = _at(value, "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps))
        if isinstance(here, dict) and "kind" in here:
            kinds = [one for one in kinds if one.__struct_config__.tag == here["kind"]] or kinds
    yield from kinds


def _fields(kind: type[Base], step: str | int) -> Iterator[type[Base]]:
    if isinstance(step, int):
        yield kind
        return
    for field in msgspec.structs.fields(kind):
        if field.encode_name == step:
            yield from _structs_in(msgspec.inspect.type_info(field.type))


def _structs_in(info: msgspec.inspect.Type) -> Iterator[type[Base]]:
    if isinstance(info, msgspec.inspect.Metadata):
        yield from _structs_in(info.type)
    elif isinstance(info, msgspec.inspect.UnionType):
        for inner in info.types:
            yield from _structs_in(inner)
    elif isinstance(info, msgspec.inspect.VarTupleType):
        yield from _structs_in(info.item_type)
    elif isinstance(info, msgspec.inspect.StructType) and issubclass(info.cls, Base):
        yield info.cls


def _names_at(path: str, value: Any) -> list[str]:  # noqa: ANN401
    return [field.encode_name for kind in _structs_at(path, value) for field in msgspec.structs.fields(kind)]


def _allowed(path: str, value: Any) -> Iterator[object]:  # noqa: ANN401
    parent, _, name = re.sub(r"\[\d+\]$", "", path).rpartition(".")
    if name == "kind":
        yield from sorted(str(kind.__struct_config__.tag) for kind in Rule.__args__)
        return
    for kind in _structs_at(parent, value):
        for field in msgspec.structs.fields(kind):
            if field.encode_name == name:
                yield from _literals_in(msgspec.inspect.type_info(field.type))


def _literals_in(info: msgspec.inspect.Type) -> Iterator[object]:
    if isinstance(info, msgspec.inspect.Metadata):
        yield from _literals_in(info.type)
    elif isinstance(info, msgspec.inspect.UnionType):
        for inner in info.types:
            yield from _literals_in(inner)
    elif isinstance(info, msgspec.inspect.VarTupleType):
        yield from _literals_in(info.item_type)
    elif isinstance(info, msgspec.inspect.LiteralType):
        yield from info.values
