"""How many tokens an answer may have, as the request says: less where it says too much, added where it says nothing.

Only a member that is spelt exactly bounds an answer: most servers tell upper from lower case, and so does Ollama in the
names of its options. Where there is none, one is added. Other spellings are lowered with it, for servers that fold them.
"""

from __future__ import annotations

from bisect import bisect_left

from kube_gateway import _native
from kube_gateway.ai.decide.exchange import Exchange, Found
from kube_gateway.ai.decide.numbers import ENDLESS, number_of
from kube_gateway.ai.policy.selection import Selection

_LEAST_BELOW = 1024
"""Anthropic takes no smaller budget for thinking (API reference, "thinking.budget_tokens")."""


def asked_limit(exchange: Exchange) -> int | None:
    """Return the most tokens that the client lets the answer have, None for as many as there are."""
    bounds = _bounds_in(exchange)
    values = [number_of(found.hit) for found in bounds]
    others = [value for found in exchange.found("limit") if (value := number_of(found.hit)) is not None]
    if not bounds or None in values or not all(map(_bounds, others)) or _is_beside(exchange, bounds):
        return None
    return max(others)


def _bounds_in(exchange: Exchange) -> list[Found]:
    """Return the members that bound the answer, or can: where all names for a limit say null, those of one of them."""
    exact = [found for found in exchange.found("limit") if exchange.is_exact(found)]
    said = {found.wanted.path for found in exact if found.hit.kind != "null"}
    for path in exchange.endpoint.request.limits:
        if said:
            break
        said = {found.wanted.path for found in exact if found.wanted.path == path}
    return [found for found in exact if found.wanted.path in said]


def _is_beside(exchange: Exchange, bounds: list[Found]) -> bool:
    """Whether there is a second object that some servers take instead of the one around the bound."""
    parents = {found.wanted.path.rpartition(".")[0] for found in bounds}
    around = [outer.hit for outer in exchange.found("limit_parent") if outer.wanted.path in parents]
    # In the order of the document, so that the next one tells whether there is one inside.
    starts = [*(found.hit.start for found in bounds), len(exchange.request.body)]
    return any(starts[bisect_left(starts, outer.start)] >= outer.end for outer in around)


def _bounds(value: int) -> bool:
    # Ollama takes zero for no limit at all, as it does what is less.
    return 0 < value < ENDLESS


def decide_limit(exchange: Exchange, selection: Selection) -> int | None:
    """Return the limit to send, None where the client's own stays as it is (or none is sent)."""
    asked = asked_limit(exchange)
    # Also where it is spelt as only some servers read it.
    values = (number_of(found.hit) for found in exchange.found("limit"))
    said = max((value for value in values if value is not None and _bounds(value)), default=0)
    new: int | None = None
    for rule in selection.limits:
        if not exchange.endpoint.request.limits:
            break
        current = new if new is not None else asked
        if current is None and not rule.inject and said <= rule.max_tokens:
            continue
        if rule.mode == "enforce":
            exchange.held = True
            exchange.cut = exchange.cut or rule.cut
        if current is not None and current <= rule.max_tokens:
            continue
        exchange.fired(rule)
        if rule.mode == "enforce":
            new = rule.max_tokens
            before = "no limit" if current is None else str(current)
            exchange.remarks.append(f"limit of tokens {before} -> {new} (rule {rule.name})")
    return new


def write_limit(exchange: Exchange, limit: int) -> None:
    """Put a limit into the body: in the place of larger ones, or where none is spelt exactly."""
    document = exchange.document
    if document is None or not exchange.endpoint.request.limits:
        return
    raw = str(limit).encode()
    bounds = _bounds_in(exchange)
    paths = {found.wanted.path for found in bounds}
    for found in exchange.found("limit"):
        if found.hit.kind == "null" and bounds and found.wanted.path not in paths:
            # OpenAI refuses a chat with both of its names for a limit.
            continue
        value = number_of(found.hit)
        if value is None or not 0 < value <= limit:
            document.replace_raw(found.number, raw)
            exchange.edits["limit"] = None
    if not bounds or _is_beside(exchange, bounds):
        exchange.edits["limit"] = None
        _insert(exchange, document, raw)
    _keep_below(exchange, document, limit)


def _keep_below(exchange: Exchange, document: _native.Document, limit: int) -> None:
    """Lower what has to be less than the limit, or take it out with the object around it where too little is left."""
    values = [(found, number_of(found.hit)) for found in exchange.found("below")]
    if not any(value is not None and value >= limit for _, value in values):
        return
    if limit > _LEAST_BELOW:
        for found, _ in values:
            document.replace_raw(found.number, str(limit - 1).encode())
        return
    for found in exchange.found("below_parent"):
        document.remove(found.number)


def _insert(exchange: Exchange, document: _native.Document, raw: bytes) -> None:
    around = exchange.found("limit_parent")
    objects = {one.wanted.path for one in around if one.hit.kind == "object" and exchange.is_exact(one)}
    limits = exchange.endpoint.request.limits
    # The spelling that the client uses for the object around it, if it uses one.
    path = next((one for one in limits if one.rpartition(".")[0] in objects), limits[0])
    parent, _, key = path.rpartition(".")
    whole = b'{"' + key.encode() + b'":' + raw + b"}"
    nothing = [one for one in around if one.wanted.path == parent and one.hit.kind == "null"]
    for one in nothing:
        document.replace_raw(one.number, whole)
    if not parent or parent in objects:
        document.insert(parent, key, raw)
    elif not any(exchange.is_exact(one) for one in nothing):
        document.insert("", parent, whole)
