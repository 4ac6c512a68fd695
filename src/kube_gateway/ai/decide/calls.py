"""The account of a call that has ended, and what it has used."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from kube_gateway.ai.budget import Tokens
from kube_gateway.ai.decide.exchange import Exchange
from kube_gateway.ai.dialect import Outcome, Reason
from kube_gateway.ai.meters.call import Call, Meters, Text, Usage
from kube_gateway.ai.meters.usage import usage_of
from kube_gateway.ai.policy.rules import RuleBase
from kube_gateway.ai.policy.selection import MODEL_IS_USED
from kube_gateway.ai.shape import LaneName

_TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, 3.2. Later versions may have more behind it: what nobody can read yet is not taken."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell, and what is the same for all calls under one policy."""

    meters: Meters
    revision: int
    name: str
    texts: bool


def call_of(
    exchange: Exchange,
    told: Told,
    *,
    outcome: Outcome,
    facts: Mapping[str, Any],
    blocked: Reason | None = None,
    rule: RuleBase | None = None,
) -> Call:
    """Return the account of a call, and settle what it had reserved. `facts` are the native core's, or a refusal's."""
    refused = "seconds" not in facts
    if not (refused or facts.get("sent", True)):
        exchange.release()
    usage = None if refused else _usage(exchange, outcome, facts)
    exchange.settle(Tokens(input=usage.input, output=usage.output) if usage is not None else Tokens())
    return msgspec.structs.replace(
        _asked(exchange, told),
        duration=facts.get("seconds", time.monotonic() - exchange.began),
        response_model=outcome.model or "",
        response_id=outcome.captured.get("id", ""),
        status=facts.get("status", 0),
        request_bytes=facts.get("request_bytes", len(exchange.request.body)),
        response_bytes=facts.get("response_bytes", 0),
        first_byte=facts.get("seconds_to_first_byte"),
        first_chunk=facts.get("seconds_to_first_chunk"),
        overhead=facts.get("overhead_seconds", 0.0),
        events=outcome.events,
        usage=usage,
        finish=outcome.finish,
        blocked=blocked,
        rule=rule.name if rule is not None else "",
        cut=outcome.cut,
        failed=outcome.failed or bool(facts.get("upstream_failed")),
        client_gone=bool(facts.get("client_gone")),
        texts=_texts(exchange, outcome) if told.texts else (),
    )


def _asked(exchange: Exchange, told: Told) -> Call:
    """Return what is known of a call without its answer."""
    request = exchange.request
    return Call(
        started=exchange.started,
        duration=0.0,
        dialect=exchange.dialect.name,
        provider=exchange.dialect.provider,
        endpoint=exchange.endpoint.name,
        operation=exchange.endpoint.operation,
        method=request.method,
        # A key may be in the query.
        target=exchange.path,
        destination=request.destination,
        connection=request.connection,
        traceparent=_traceparent(exchange),
        requested_model=exchange.requested_model,
        model=exchange.model,
        streaming=exchange.streaming,
        limit=exchange.limit,
        most_output=exchange.most_output,
        edits=tuple(exchange.edits),
        matches=dict(exchange.matches),
        shadow_matches=dict(exchange.shadow),
        hook_failures=dict(exchange.hook_failures),
        policy_revision=told.revision,
        policy_hash=told.name,
    )


def _traceparent(exchange: Exchange) -> str:
    values = list(exchange.header("traceparent"))
    return values[0] if len(values) == 1 and _TRACEPARENT.fullmatch(values[0]) else ""


def _usage(exchange: Exchange, outcome: Outcome, facts: Mapping[str, Any]) -> Usage | None:
    if exchange.endpoint.operation not in MODEL_IS_USED:
        return None
    if facts.get("status", 0) >= 400 and not outcome.usage:
        return None
    if _unanswered(facts):
        return None
    return usage_of(
        outcome,
        totals=exchange.dialect.totals,
        prompt_characters=exchange.prompt_characters,
        broken_off=_broken_off(outcome, facts),
    )


def _unanswered(facts: Mapping[str, Any]) -> bool:
    """Whether the server has failed without a byte of an answer, or was never asked.

    A client that leaves while the server is at work has had it work.
    """
    answered = facts.get("status", 0) or facts.get("seconds_to_first_byte") is not None
    return not answered and bool(facts.get("upstream_failed") or not facts.get("sent", True))


def _broken_off(outcome: Outcome, facts: Mapping[str, Any]) -> bool:
    """Whether the end is missing. What was denied as a whole, or left after its last event, had come to it."""
    if outcome.failed or facts.get("upstream_failed"):
        # An error ends a stream too.
        return True
    return not outcome.done and bool(outcome.denied is not None or outcome.cut or facts.get("client_gone"))


def _texts(exchange: Exchange, outcome: Outcome) -> tuple[Text, ...]:
    prompts = [Text(lane=prompt.lane.name, text=prompt.original) for prompt in exchange.prompts]
    return (*prompts, *(Text(lane=cast(LaneName, lane), text=text) for lane, text in outcome.texts.items()))
