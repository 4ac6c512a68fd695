"""How the answer to a call is treated: which filter looks at it or changes it, and with what."""

from __future__ import annotations

from typing import Any

import msgspec

from kube_gateway import _native
from kube_gateway.ai.decide.asking_hooks import transformation
from kube_gateway.ai.decide.exchange import Exchange
from kube_gateway.ai.dialect import Endpoint
from kube_gateway.ai.meters.usage import CHARACTERS_PER_TOKEN
from kube_gateway.ai.policy.schema import Policy
from kube_gateway.ai.policy.selection import Selection
from kube_gateway.ai.shape import Framing

MOST_AUDITED = 1024 * 1024
"""Bytes of text that are kept of an answer for the audit log, for each lane."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """For the native core: `start` are the keywords of `FilterPlan.start`; without `edits` the filter only looks."""

    plan: _native.FilterPlan
    framing_of: dict[str, Framing]
    start: dict[str, Any]
    edits: bool


def answer_of(
    exchange: Exchange, selection: Selection, policy: Policy, *, limit: int | None, hash_key: bytes
) -> Answer:
    """Return how the answer is treated. `limit`: tokens that one choice may have, where the gateway has set that."""
    start: dict[str, Any] = {"hash_key": hash_key}
    edits = selection.edits_answers
    if exchange.echo is not None:
        start["model"] = exchange.echo
        edits = True
    if exchange.injected_usage:
        start["strip_usage"] = True
        edits = True
    held = exchange.held and not exchange.endpoint.request.limit_is_kept
    if (exchange.cut or held) and exchange.may_stream and limit is not None:
        exchange.most_output = limit * exchange.choices
        most = limit if exchange.cut else _surely_too_much(exchange, limit)
        start["most_output"] = most * exchange.choices
        edits = True
    if selection.edits_answers and policy.on_unreadable_answer == "block":
        start["strict"] = True
    transform = transformation(exchange, selection.text_hooks)
    if transform is not None:
        start["transform"] = transform
    if policy.audit.enabled and policy.audit.content != "none":
        start["collect"] = MOST_AUDITED
    return Answer(
        plan=selection.plan(streaming=exchange.streaming),
        framing_of=framing_of(exchange.endpoint, streaming=exchange.streaming, strict="strict" in start),
        start=start,
        edits=edits,
    )


def _surely_too_much(exchange: Exchange, limit: int) -> int:
    """Return where a stream ends whose server was asked to keep to `limit`, and does not.

    Tokens on the way are estimated by four characters, and most have more. Completions may begin with their prompt. A
    stream that keeps to its limit is not to be cut.
    """
    prompt = len(exchange.request.body) // CHARACTERS_PER_TOKEN if exchange.endpoint.request.prompts is not None else 0
    return 4 * limit + 64 + prompt


def framing_of(endpoint: Endpoint, *, streaming: bool, strict: bool = False) -> dict[str, Framing]:
    """Return how an answer is cut into events, by content type. A stream may come unasked, too.

    `strict`: what has another type, or none, is read as a document (`*`), so that nothing passes unread.
    """
    known: dict[str, Framing] = {
        "text/event-stream": "sse",
        "application/x-ndjson": "ndjson",
        "application/json": endpoint.json_framing if streaming else "whole",
    }
    return known | {"*": "whole"} if strict else known
