"""What the body of a request says beside its texts: whether a stream is asked for, with usage, and for how many answers."""

from __future__ import annotations

import re
from urllib.parse import parse_qs

from kube_gateway.ai.decide.exchange import Exchange, Refused
from kube_gateway.ai.decide.wanted import Places
from kube_gateway.ai.policy.selection import Selection

_OBJECT = re.compile(rb"[ \t\r\n]*\{")
_CHOICES = re.compile(r"[0-9]{1,4}", re.ASCII)


def read_body(exchange: Exchange, places: Places, *, blocks: bool) -> None:
    """Look through the body, where something is looked for. Raises `Refused` for no JSON, if it `blocks`."""
    if not exchange.request.body or not places.wanted:
        return
    try:
        if _OBJECT.match(exchange.request.body) is None:
            raise ValueError("not a JSON object")
        exchange.read(places)
    except ValueError as error:
        if blocks:
            raise Refused(None, "not_understood", message=f"the request cannot be checked: {error}") from None
        exchange.remarks.append(f"no rule was applied to the body: {error}")


def read_stream(exchange: Exchange) -> None:
    """Note what kind of answer the client waits for."""
    endpoint = exchange.endpoint
    if endpoint.streams == "by_query":
        exchange.streaming = parse_qs(exchange.query).get("stream", [""])[-1].lower() == "true"
    elif endpoint.streams == "by_body":
        hit = exchange.last("stream")
        absent = hit is None or hit.kind == "null"
        exchange.streaming = endpoint.request.streams_by_default if absent or hit is None else hit.kind == "true"
    usage = exchange.last("usage")
    exchange.wants_usage = usage is not None and usage.kind == "true"
    choices = exchange.last("choices")
    if choices is not None and _CHOICES.fullmatch(choices.text):
        exchange.choices = min(max(int(choices.text), 1), 128)


def check_token_ids(exchange: Exchange, selection: Selection, *, blocks: bool) -> None:
    """Raise `Refused` for a prompt in numbers, which no rule about texts can read, if it `blocks`."""
    numbers = exchange.found("token_id")
    rules_in_force = any(matchers.enforced is not None for matchers in selection.prompt.values())
    if blocks and rules_in_force and any(found.hit.kind == "number" for found in numbers):
        raise Refused(
            None, "not_understood", message="the prompt is given as numbers of tokens, which cannot be checked"
        )
