"""What has been decided, written into the request: only the spans that it is about change."""

from __future__ import annotations

from kube_gateway.ai.decide.exchange import Exchange

_OVER_THE_BODY = ("content-md5", "digest", "content-digest", "repr-digest")


def write_prompts(exchange: Exchange) -> None:
    """Put changed texts in their places."""
    for prompt in exchange.prompts:
        if prompt.changed and exchange.document is not None:
            exchange.document.replace_text(prompt.number, prompt.text)
            exchange.edits["prompt"] = None


def ask_usage(exchange: Exchange) -> None:
    """Have a stream tell its usage at the end, as most only do when they are asked to."""
    option = exchange.endpoint.request.usage_option
    document = exchange.document
    if option is None or document is None or exchange.wants_usage or not exchange.streaming:
        return
    parent, key = option
    there, around = exchange.found("usage"), exchange.found("usage_parent")
    whole = b'{"' + key.encode() + b'":true}'
    if there:
        for found in there:
            document.replace_raw(found.number, b"true")
    elif not around:
        exchange.insert("", parent, whole)
    elif around[-1].hit.kind == "object":
        exchange.insert(parent, key, b"true")
    elif around[-1].hit.kind == "null":
        document.replace_raw(around[-1].number, whole)
    else:
        return
    exchange.injected_usage = True
    exchange.edits["usage"] = None


def headers_of(exchange: Exchange, *, edits_request: bool, edits_answer: bool) -> list[tuple[str, str | None]]:
    """Return headers to set, or to remove (None)."""
    headers: list[tuple[str, str | None]] = []
    if edits_request:
        headers += [(name, None) for name in _OVER_THE_BODY if any(exchange.header(name))]
        if exchange.request.encoded:
            headers.append(("content-encoding", None))
    if edits_answer:
        # What cannot be read cannot be changed; most servers send plain text if they are asked to.
        headers.append(("accept-encoding", "identity"))
    return headers
