"""Names of models as servers take them: which rule is about one, in whatever way it is written.

For most servers a name is a text. For Ollama (types/model/name.go) upper and lower case are the same, and so are a name
with and without the host, the namespace and the tag that it takes where they are left out.
"""

from __future__ import annotations

from collections.abc import Iterable

from kube_gateway.ai.dialect import Naming
from kube_gateway.ai.policy.globs import matches

_LONGEST = 1024
"""Characters of what Ollama takes for a name, and more."""


def spellings(name: str, naming: Naming) -> tuple[str, ...]:
    """Return all ways to write a name, first as it is written."""
    if naming == "exact" or not name:
        return (name,)
    _, _, whole = name.lower().rpartition("://")
    if len(whole) > _LONGEST:
        return (name,)
    head, _, last = whole.rpartition("/")
    model, _, tag = last.partition(":")
    tags = (f":{tag}",) if tag not in {"", "latest"} else ("", ":latest")
    forms = (f"{head}{model}{tag}" for head in _heads(head) for tag in tags)
    return tuple(dict.fromkeys((name, whole, *forms)))


def _heads(head: str) -> tuple[str, ...]:
    """Return what may stand before a name, the shortest first; with slashes."""
    match head.split("/") if head else []:
        case [] | ["library"] | ["registry.ollama.ai", "library"]:
            return "", "library/", "registry.ollama.ai/library/"
        case [namespace] | ["registry.ollama.ai", namespace]:
            return f"{namespace}/", f"registry.ollama.ai/{namespace}/"
        case _:
            return (f"{head}/",)


def counted_name(name: str, naming: Naming) -> str:
    """Return the name under which calls are counted: the same for all ways to write it, without what may be left out."""
    return name if naming == "exact" else min((way.lower() for way in spellings(name, naming)), key=len)


def is_about(globs: Iterable[str], name: str, naming: Naming) -> bool:
    """Return whether one of `globs` is about the model of this name."""
    ways = spellings(name, naming)
    ignore_case = naming != "exact"
    return any(matches(glob, way, ignore_case=ignore_case) for glob in globs for way in ways)
