"""How many tokens an answer may have, as the request says: less where it says too much, added where it says nothing."""

from __future__ import annotations

import re

from kube_gateway import _native
from kube_gateway.ai.decide.exchange import Exchange, Found
from kube_gateway.ai.decide.wanted import parents_of
from kube_gateway.ai.policy.selection import Selection

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_ENDLESS = 10**18
_LEAST_BELOW = 1024
"""Anthropic takes no smaller budget for thinking (API reference, "thinking.budget_tokens")."""


def asked_limit(exchange: Exchange) -> int | None:
    """Return the most tokens that the client lets the answer have, None for as many as there are."""
    values = [value for found in exchange.found("limit") if (value := _value(found.hit)) is not None]
    bounded = [value for value in values if 0 <= value < _ENDLESS]
    return max(bounded) if bounded and len(bounded) == len(values) else None


def decide_limit(exchange: Exchange, selection: Selection) -> int | None:
    """Return the limit to send, None where the client's own stays as it is (or none is sent)."""
    asked = asked_limit(exchange)
    new: int | None = None
    for rule in selection.limits:
        if not exchange.endpoint.request.limits:
            break
        current = new if new is not None else asked
        if current is None and not rule.inject:
            continue
        if current is not None and current <= rule.max_tokens:
            exchange.cut = exchange.cut or (rule.cut and rule.mode == "enforce")
            continue
        exchange.fired(rule)
        if rule.mode == "enforce":
            new = rule.max_tokens
            exchange.cut = exchange.cut or rule.cut
            before = "no limit" if current is None else str(current)
            exchange.remarks.append(f"limit of tokens {before} -> {new} (rule {rule.name})")
    return new


def write_limit(exchange: Exchange, limit: int) -> None:
    """Put a limit into the body: in the place of larger ones, or where there is none."""
    document = exchange.document
    if document is None or not exchange.endpoint.request.limits:
        return
    raw = str(limit).encode()
    written = False
    for found in exchange.found("limit"):
        value = _value(found.hit)
        if value is None or not 0 <= value <= limit:
            document.replace_raw(found.number, raw)
            exchange.edits["limit"] = None
        written = True
    if not written:
        _insert(exchange, document, raw)
    _keep_below(exchange, document, limit)


def _keep_below(exchange: Exchange, document: _native.Document, limit: int) -> None:
    """Lower what has to be less than the limit, or take it out with the object around it where too little is left."""
    values = [(found, _value(found.hit)) for found in exchange.found("below")]
    if not any(value is not None and value >= limit for _, value in values):
        return
    if limit > _LEAST_BELOW:
        for found, _ in values:
            document.replace_raw(found.number, str(limit - 1).encode())
        return
    for found in exchange.found("below_parent"):
        document.remove(found.number)


def _insert(exchange: Exchange, document: _native.Document, raw: bytes) -> None:
    exchange.edits["limit"] = None
    around = exchange.found("limit_parent")
    objects = {found.wanted.path for found in around if found.hit.kind == "object"}
    limits = exchange.endpoint.request.limits
    # The spelling that the client uses for the object around it, if it uses one.
    path = next((one for one in limits if (parents := parents_of(one)) and parents[-1] in objects), limits[0])
    *outer, key = path.split(".")
    known = ""
    for depth in range(len(outer), 0, -1):
        parent = ".".join(outer[:depth])
        if parent in objects:
            known = parent
            break
        raw = b'{"' + key.encode() + b'":' + raw + b"}"
        key = outer[depth - 1]
        there = _last(around, parent)
        if there is not None:
            if there.hit.kind == "null":
                document.replace_raw(there.number, raw)
            return
    exchange.insert(known, key, raw)


def _last(around: list[Found], path: str) -> Found | None:
    return next((found for found in reversed(around) if found.wanted.path == path), None)


def _value(hit: _native.Hit) -> int | None:
    """The number, also where it stands as text, as Gemini's clients may write it; None for null and what is no number."""
    if hit.kind not in {"number", "string"}:
        return None
    if _INTEGER.fullmatch(hit.text):
        return int(hit.text)
    if not _NUMBER.fullmatch(hit.text):
        return None if hit.kind == "string" else _ENDLESS
    value = float(hit.text)
    return int(value) if abs(value) < _ENDLESS else _ENDLESS
