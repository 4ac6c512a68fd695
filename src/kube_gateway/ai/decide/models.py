"""Which model a call goes to, and whether it may.

Rules are walked in the order that they are written, each on the name that the ones before have made. The model of the
pod's annotation comes last, and what is denied is denied under that name too. What administers a server is never renamed:
a request to delete a model means that model.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote

from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.dialect import Operation
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.renaming import Renaming

_RENAMED: frozenset[Operation] = frozenset({"chat", "text_completion", "embeddings", "count_tokens", "models"})
_ANNOTATED: frozenset[Operation] = frozenset({"chat", "text_completion", "count_tokens"})


def read_model(exchange: Exchange) -> None:
    """Note which model is asked for."""
    match = _in_target(exchange)
    if match is not None:
        exchange.requested_model = unquote(match["model"])
    elif (hit := exchange.last("model")) is not None:
        exchange.requested_model = hit.text
    exchange.model = exchange.requested_model


def decide_model(exchange: Exchange, snapshot: Snapshot, *, index: int) -> None:
    """Rename the model. Raises `Refused` for one that is denied."""
    renamings = snapshot.renamings(index)
    if not renamings and not snapshot.model:
        return
    # Of a member that occurs twice, who knows which one the server takes.
    for found in exchange.found("model"):
        name = found.hit.text
        new = name if name == exchange.requested_model else _walk(exchange, renamings, name, count=False)
        if new != name:
            _rewrite(exchange, found.number, new)
    if not exchange.requested_model:
        return
    exchange.model = _annotated(exchange, snapshot, renamings, _walk(exchange, renamings, exchange.requested_model))
    if exchange.model == exchange.requested_model:
        return
    exchange.edits["model"] = None
    for found in exchange.found("model"):
        if found.hit.text == exchange.requested_model or _in_target(exchange) is not None:
            _rewrite(exchange, found.number, exchange.model)
    _rewrite_target(exchange)


def _walk(exchange: Exchange, renamings: tuple[Renaming, ...], name: str, *, count: bool = True) -> str:
    asked = name
    for renaming in renamings:
        rule = renaming.rule
        if not renaming.applies(name):
            continue
        if not rule.deny and exchange.endpoint.operation not in _RENAMED:
            continue
        if count:
            exchange.fired(rule)
        if rule.mode == "shadow":
            continue
        if rule.deny:
            raise Refused(rule, "model_denied")
        name = renaming.new_name(name)
        if count and name != asked:
            exchange.echo = asked if rule.echo == "requested" else None
            exchange.remarks.append(f"model {shown(asked)} -> {shown(name)} (rule {rule.name})")
    return name


def _annotated(exchange: Exchange, snapshot: Snapshot, renamings: tuple[Renaming, ...], name: str) -> str:
    if not snapshot.model or name == snapshot.model or exchange.endpoint.operation not in _ANNOTATED:
        return name
    for renaming in renamings:
        if renaming.rule.deny and renaming.rule.mode == "enforce" and renaming.applies(snapshot.model):
            exchange.fired(renaming.rule)
            raise Refused(renaming.rule, "model_denied")
    exchange.echo = exchange.requested_model
    exchange.remarks.append(f"model {shown(name)} -> {shown(snapshot.model)} (annotation ai-model)")
    return snapshot.model


def _rewrite(exchange: Exchange, number: int, name: str) -> None:
    if exchange.document is not None:
        exchange.document.replace_text(number, name)


def _rewrite_target(exchange: Exchange) -> None:
    match = _in_target(exchange)
    if match is None:
        return
    begin, end = match.span("model")
    path = f"{exchange.path[:begin]}{quote(exchange.model, safe='')}{exchange.path[end:]}"
    exchange.target = f"{path}?{exchange.query}" if exchange.query else path


def _in_target(exchange: Exchange) -> re.Match[str] | None:
    if not exchange.endpoint.request.model_in_target:
        return None
    return _compiled(exchange.endpoint.pattern).search(exchange.path)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern})$")


def shown(name: str) -> str:
    """Return a name that a client chose, as it may stand in a log line."""
    cut = name if len(name) <= 100 else f"{name[:97]}..."
    return cut if re.fullmatch(r"[\w.:/@+-]+", cut, re.ASCII) else repr(cut)
