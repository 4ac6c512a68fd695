"""What a shape says about a document, read in the slowest and plainest way: by walking it."""

from __future__ import annotations

import json

from kube_gateway.ai.shape import Lane, When


def at(document, path: str):
    """Yield all values at a path, with where they are: a tuple of members and indices."""
    yield from _walk(document, path.replace("[]", ".[]").split("."), ())


def _walk(value, steps, place):
    if not steps:
        yield place, value
        return
    step, *rest = steps
    if step == "[]":
        if isinstance(value, list):
            for index, element in enumerate(value):
                yield from _walk(element, rest, (*place, index))
    elif isinstance(value, dict) and step in value:
        yield from _walk(value[step], rest, (*place, step))


def beside(document, path: str, place):
    """The values at a path in the same elements as `place`."""
    return [value for other, value in at(document, path) if _same_elements(place, other)]


def _same_elements(one, other) -> bool:
    for mine, theirs in zip(one, other, strict=False):
        if type(mine) is not type(theirs):
            return True
        if mine != theirs:
            return not isinstance(mine, int)
    return True


def holds(when: When, document, place=()) -> bool:
    values = beside(document, when.path, place)
    if when.any_of:
        found = any(_written(value) in when.any_of for value in values)
    else:
        found = any(value not in (None, False, "", [], {}) for value in values)
    return (found or (when.or_absent and not values)) is not when.negated


def _written(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def texts(lanes: tuple[Lane, ...], document) -> list[tuple[str, str]]:
    """Name and text of all that is in lanes."""
    found = []
    for lane in lanes:
        for place, value in at(document, lane.path):
            if all(holds(when, document, place) for when in lane.when):
                found += [
                    (lane.name, text) for text in (_below(value) if lane.deep else [value]) if isinstance(text, str)
                ]
    return found


def keys(lane: Lane, document) -> list[tuple[str, ...]]:
    return [
        tuple(next((_written(each) for each in beside(document, part, place)), "") for part in lane.key)
        for place, value in at(document, lane.path)
        if isinstance(value, str) and all(holds(when, document, place) for when in lane.when)
    ]


def _below(value):
    """Yield what is below a value, numbers as they are written."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _below(inner)
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        yield json.dumps(value) if is_number else value


def usage(shape, documents) -> dict[str, int]:
    """The last number at each kind's paths."""
    found = {}
    for document in documents:
        for kind, paths in shape.usage.items():
            for path in paths:
                for _, value in at(document, path):
                    if isinstance(value, int):
                        found[kind] = value
    return found


def first(document, path: str | None):
    return next((value for _, value in at(document, path)), None) if path else None
