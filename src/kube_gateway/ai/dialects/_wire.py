"""Bytes that the gateway itself says, in whatever dialect: JSON documents, server-sent events, and refusals.

JSON goes out in ASCII with escapes: a text from a policy may hold what UTF-8 cannot (a lone surrogate).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, urlsplit

from kube_gateway.ai.dialect import Asked, Reply, Totals

JSON = ("content-type", "application/json")
MOST_CHOICES = 128
EVENTS = ("content-type", "text/event-stream")


def document(value: object) -> bytes:
    """Return `value` as one line of JSON."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def event(value: object, *, name: str | None = None) -> bytes:
    """Return a server-sent event with `value` as its data (WHATWG HTML, 9.2)."""
    head = b"" if name is None else b"event: " + name.encode("ascii") + b"\n"
    return head + b"data: " + document(value) + b"\n\n"


def whole(value: object, *, status: int = 200) -> Reply:
    """Return an answer in one document."""
    return Reply(status=status, headers=(JSON,), body=document(value))


def streamed(events: Iterable[bytes], *, header: tuple[str, str] = EVENTS) -> Reply:
    """Return an answer in events, all at once."""
    return Reply(status=200, headers=(header, ("cache-control", "no-cache")), body=b"".join(events))


def refused(value: object, *, status: int, retry_after: int | None) -> Reply:
    """Return an error that is not to be tried again.

    The clients of OpenAI and Anthropic repeat 408, 409, 429 and 5xx on their own unless `x-should-retry` says no.
    """
    headers = [JSON, ("x-should-retry", "false")]
    if retry_after is not None:
        headers.append(("retry-after", str(retry_after)))
    return Reply(status=status, headers=tuple(headers), body=document(value))


def identifier(prefix: str) -> str:
    """Return a new identifier that shows where an answer was made."""
    return f"{prefix}kg-{secrets.token_hex(12)}"


def now() -> int:
    """Return the time in seconds since 1970."""
    return int(time.time())


def number(text: str | None, *, otherwise: int) -> int:
    """Return the whole number that a captured member holds."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else otherwise


def choices(asked: Asked) -> range:
    """Return the indices of the answers that were asked for, up to the most that OpenAI gives."""
    return range(min(max(asked.choices, 1), MOST_CHOICES))


def query(target: str) -> dict[str, str]:
    """Return the parameters of a request target, the last of a name."""
    return dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))


def plain_totals(usage: Mapping[str, int]) -> Totals:
    """Return the totals where `input` and `output` hold all there is."""
    return Totals(input=usage.get("input", 0), output=usage.get("output", 0))
