"""The LLM APIs that the gateway understands, one module each. What is in this folder is found, and needs no list.

A module whose name begins with an underscore is shared by others and holds no dialect.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable
from functools import cache
from importlib import import_module

from kube_gateway.ai.dialect import Dialect, Endpoint


@cache
def dialects() -> tuple[Dialect, ...]:
    """Return all dialects, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return tuple(_dialect(name) for name in names)


def _dialect(name: str) -> Dialect:
    found: Dialect = import_module(f"{__name__}.{name}").DIALECT
    return found


@cache
def endpoints() -> tuple[tuple[Dialect, Endpoint], ...]:
    """Return all endpoints in the order to try them, with their dialects; the first that matches is meant.

    The longest pattern comes first, so that `/chat/completions` comes before `/completions`.
    """
    return in_order(dialects())


def in_order(some: Iterable[Dialect]) -> tuple[tuple[Dialect, Endpoint], ...]:
    """Return the endpoints of some dialects in the order to try them."""
    pairs = [(dialect, endpoint) for dialect in some for endpoint in dialect.endpoints]
    return tuple(sorted(pairs, key=lambda pair: (-len(pair[1].pattern), pair[0].name, pair[1].name)))


def find(method: str, target: str) -> tuple[Dialect, Endpoint, str | None] | None:
    """Return which endpoint a request is for, and the model in its target, if there is one; None if it is no LLM call."""
    path = target.split("?", 1)[0]
    for dialect, endpoint in endpoints():
        if endpoint.method == method and (match := _compiled(endpoint.pattern).search(path)):
            return dialect, endpoint, match.groupdict().get("model")
    return None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern})$")
