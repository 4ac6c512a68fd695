"""What the body of a request says beside its texts: whether a stream is asked for, with usage, and for how many answers."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.decide.numbers import number_of, prompts_in
from kube_gateway.ai.decide.wanted import Places, What
from kube_gateway.ai.policy.selection import Selection

_OBJECT = re.compile(rb"[ \t\r\n]*\{")
_STREAM = re.compile(rb'"stream"[ \t\r\n]*:[ \t\r\n]*(true|false)')
_MOST_ANSWERS = 10**9
"""More than any server makes."""


def read_body(exchange: Exchange, places: Places) -> str | None:
    """Look through the body, where something is looked for. Returns what is wrong with a body that cannot be read."""
    if not exchange.request.body or not places.wanted:
        return None
    if _OBJECT.match(exchange.request.body) is None:
        return "not a JSON object"
    try:
        exchange.read(places)
    except ValueError as error:
        return str(error)
    return None


def check_body(exchange: Exchange, wrong: str | None, *, blocks: bool) -> None:
    """Raise `Refused` for a body that cannot be read, if it `blocks`."""
    if wrong is None:
        return
    if blocks:
        raise Refused(None, "not_understood", message=f"the request cannot be checked: {wrong}")
    exchange.remarks.append(f"no rule was applied to the body: {wrong}")


def read_stream(exchange: Exchange) -> None:
    """Note what kind of answer the client waits for; of a body that could not be read, as far as it can be told.

    It comes before everything that may refuse, as a refusal has to have the form that the client waits for.
    """
    endpoint = exchange.endpoint
    if endpoint.streams == "by_query":
        exchange.streaming = parse_qs(exchange.query).get("stream", [""])[-1].lower() == "true"
    elif endpoint.streams == "by_body":
        asked = _asks_for_stream(exchange)
        exchange.streaming = endpoint.request.streams_by_default if asked is None else asked
    usage = exchange.last("usage")
    exchange.wants_usage = usage is not None and usage.kind == "true"
    _count_answers(exchange)


def _count_answers(exchange: Exchange) -> None:
    """Note how many answers are made; of members that occur twice, or in several spellings, the most."""
    choices = max(_most(exchange, "choices"), 1)
    lists = (found for found in exchange.found("prompts") if found.hit.kind == "array")
    prompts = max((prompts_in(exchange.raw(found)) for found in lists), default=1)
    exchange.choices = min(choices * prompts, _MOST_ANSWERS)
    exchange.answers = min(max(choices, _most(exchange, "best_of")) * prompts, _MOST_ANSWERS)


def _most(exchange: Exchange, what: What) -> int:
    return max((number_of(found.hit) or 1 for found in exchange.found(what)), default=1)


def _asks_for_stream(exchange: Exchange) -> bool | None:
    hit = exchange.last("stream")
    if hit is not None:
        return None if hit.kind == "null" else hit.kind == "true"
    if exchange.document is not None:
        return None
    found = _STREAM.search(exchange.request.body)
    return None if found is None else found[1] == b"true"


def check_token_ids(exchange: Exchange, selection: Selection, *, blocks: bool) -> None:
    """Raise `Refused` for a prompt in numbers, which no rule about texts can read, if it `blocks`."""
    numbers = exchange.found("token_id")
    rules_in_force = any(matchers.enforced is not None for matchers in selection.prompt.values())
    if blocks and rules_in_force and any(found.hit.kind == "number" for found in numbers):
        raise Refused(
            None, "not_understood", message="the prompt is given as numbers of tokens, which cannot be checked"
        )
