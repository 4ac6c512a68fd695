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
from kube_gateway.ai.decide.wanted import model_paths
from kube_gateway.ai.dialect import Operation
from kube_gateway.ai.policy.compile import Snapshot
from kube_gateway.ai.policy.naming import counted_name
from kube_gateway.ai.policy.renaming import Renaming, walk
from kube_gateway.ai.policy.selection import MODEL_IS_USED
from kube_gateway.ai.shape import RequestShape

_RENAMED: frozenset[Operation] = frozenset({"chat", "text_completion", "embeddings", "count_tokens", "models"})
_ANNOTATED: frozenset[Operation] = frozenset({"chat", "text_completion", "count_tokens"})

_NAMED: frozenset[Operation] = frozenset({"manage", "batch"})


def read_model(exchange: Exchange) -> None:
    """Note which model is asked for."""
    found = _in_target(exchange)
    if found is not None:
        exchange.requested_model = unquote(found[1]["model"])
    else:
        exchange.requested_model = _in_body(exchange)
    exchange.model = exchange.requested_model


def _in_body(exchange: Exchange) -> str:
    """Return the name that the body has; of a member that occurs twice the last, as most servers do."""
    shape = exchange.endpoint.request
    found = {one.wanted.path: _name(one.hit.text, shape) for one in exchange.found("model")}
    return next((name for path in model_paths(shape) if (name := found.get(path))), "")


def _name(text: str, shape: RequestShape) -> str:
    # Vertex AI names a model by its whole place: projects/P/locations/L/publishers/google/models/M.
    return text.rpartition(shape.model_prefix)[2] if shape.model_prefix else text


def check_model(exchange: Exchange, *, needed: bool) -> None:
    """Raise `Refused` where the target hides the model, and a rule `needed` to know."""
    if needed and exchange.endpoint.request.model_in_target and _in_target(exchange) is None:
        raise Refused(None, "not_understood", message="the model in the path cannot be told")


def decide_model(exchange: Exchange, snapshot: Snapshot, *, index: int) -> None:
    """Rename the model. Raises `Refused` for one that is denied."""
    renamings = snapshot.renamings(index)
    if not (renamings or snapshot.model):
        return
    if not exchange.requested_model:
        # Some servers have one that they take then; and a name that is not found may be one for the server all the same.
        named = exchange.endpoint.operation in _NAMED and exchange.endpoint.request.model is not None
        if named or exchange.endpoint.operation in MODEL_IS_USED:
            _check_denied(exchange, renamings, "")
        return
    exchange.model = _renamed(exchange, snapshot, renamings, exchange.requested_model)
    new_names = exchange.new_names
    new_names[exchange.requested_model] = exchange.model
    shape = exchange.endpoint.request
    # Of a member that occurs twice, who knows which one the server takes: each is renamed.
    for found in exchange.found("model"):
        name = _name(found.hit.text, shape)
        if name not in new_names:
            new_names[name] = _renamed(exchange, snapshot, renamings, name)
        if new_names[name] != name and exchange.document is not None:
            head = found.hit.text[: len(found.hit.text) - len(name)]
            exchange.document.replace_text(found.number, head + new_names[name])
            exchange.edits["model"] = None
    if exchange.model != exchange.requested_model:
        exchange.edits["model"] = None
        _rewrite_target(exchange)


def check_one_model(exchange: Exchange, *, needed: bool) -> None:
    """Raise `Refused` where servers may differ in which model they take, and a rule `needed` to know.

    The names are compared as they are sent on.
    """
    if not needed or _in_target(exchange) is not None:
        return
    shape = exchange.endpoint.request
    found = [(one.wanted.path, _name(one.hit.text, shape)) for one in exchange.found("model")]
    names = {name for path, name in found if path == shape.model}
    names = names if any(names) else set()
    names |= {name for path, name in found if path in shape.model_names and name}
    if len({counted_name(exchange.new_names.get(name, name), exchange.endpoint.naming) for name in names}) > 1:
        raise Refused(None, "not_understood", message="the request names several models")


def _renamed(exchange: Exchange, snapshot: Snapshot, renamings: tuple[Renaming, ...], asked: str) -> str:
    name = asked
    by = ""
    echo = True
    if exchange.endpoint.operation not in _RENAMED:
        renamings = tuple(one for one in renamings if one.rule.to is None)
    for step in walk(renamings, asked):
        rule = step.rule
        exchange.fired(rule)
        if rule.mode == "shadow" or rule.allow:
            continue
        if rule.deny:
            raise Refused(rule, "model_denied")
        name, by, echo = step.name, f"rule {rule.name}", rule.echo == "requested"
    if snapshot.model and name != snapshot.model and exchange.endpoint.operation in _ANNOTATED:
        _check_denied(exchange, renamings, snapshot.model)
        name, by, echo = snapshot.model, "annotation ai-model", True
    if name != asked:
        exchange.remarks.append(f"model {shown(asked)} -> {shown(name)} ({by})")
        if asked == exchange.requested_model:
            exchange.echo = asked if echo else None
    return name


def _check_denied(exchange: Exchange, renamings: tuple[Renaming, ...], model: str) -> None:
    """Raise `Refused` if the first rule that denies or allows a name denies it."""
    for step in walk((one for one in renamings if one.rule.to is None), model):
        if step.rule.deny and step.rule.mode == "enforce":
            exchange.fired(step.rule)
            raise Refused(step.rule, "model_denied")


def _rewrite_target(exchange: Exchange) -> None:
    found = _in_target(exchange)
    if found is None:
        return
    path, match = found
    begin, end = match.span("model")
    path = f"{path[:begin]}{quote(exchange.model, safe='')}{path[end:]}"
    exchange.target = f"{path}?{exchange.query}" if exchange.query else path


def _in_target(exchange: Exchange) -> tuple[str, re.Match[str]] | None:
    """Return the path in the reading that names a model, and where: servers differ in what they do to a path."""
    if not exchange.endpoint.request.model_in_target:
        return None
    pattern = _compiled(exchange.endpoint.pattern)
    once = unquote(exchange.path)
    for path in (exchange.path, once, unquote(once)):
        for reading in (path, re.sub("//+", "/", path)):
            match = pattern.search(reading)
            if match is not None:
                return reading, match
    return None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?:{pattern})/?$", re.IGNORECASE)


def shown(name: str) -> str:
    """Return a name that a client chose, as it may stand in a log line."""
    cut = name if len(name) <= 100 else f"{name[:97]}..."
    return cut if re.fullmatch(r"[\w.:/@+-]+", cut, re.ASCII) else repr(cut)
