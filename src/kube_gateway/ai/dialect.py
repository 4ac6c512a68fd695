"""What a dialect is: one module, one object, and everything else works with it."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from kube_gateway.ai.shape import Framing, RequestShape, ResponseShape

Operation = Literal["chat", "text_completion", "embeddings", "models", "count_tokens", "manage"]
Reason = Literal[
    "blocked",
    "model_denied",
    "endpoint_denied",
    "tool_denied",
    "too_large",
    "not_understood",
    "budget_exhausted",
    "rate_limited",
    "policy_failed",
]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of call: requests with `method` whose path (without query) ends with the regular expression `pattern`.

    A group named `model` in `pattern` is the model. `json_framing` is how an `application/json` answer is framed when a
    stream was asked for. `streams`: `never`, `by_body` (see `RequestShape.stream`) or `always`.
    """

    name: str
    operation: Operation
    method: str
    pattern: str
    request: RequestShape
    response: ResponseShape
    stream: ResponseShape | None = None
    streams: Literal["never", "by_body", "always"] = "by_body"
    stream_type: str = "text/event-stream"
    json_framing: Framing = "whole"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer of the gateway itself."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asked for, as far as an answer in its place needs it."""

    endpoint: Endpoint
    model: str
    streaming: bool
    wants_usage: bool
    choices: int = 1


class Dialect(Protocol):
    """One LLM API. Adding one is adding a module with such an object to `kube_gateway.ai.dialects`."""

    name: str
    provider: str
    endpoints: tuple[Endpoint, ...]

    def error(self, asked: Asked, *, status: int, reason: Reason, message: str) -> Reply:
        """Return an error that this dialect's clients raise, and do not try again."""
        ...

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return `text` as if the model had said it; a stream where one was asked for."""
        ...

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Reason | Literal["length"], message: str) -> bytes:
        """Return what ends a stream that has begun, so that clients take it as ended: by a filter, or by a limit."""
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter of a response has seen. Lists and mappings are by what was seen first.

    `open_keys`: keys of texts that have begun and not ended. `characters`: code points by lane, before any change.
    `matches` and `shadow_matches`: by pattern id. `denied`: the pattern or tool rule that ended it. `cut`: the token
    limit did. `failed`: an event of the upstream reported an error. `done`: the stream came to its end.
    """

    events: int = 0
    model: str | None = None
    usage: dict[str, int] = {}
    finish: tuple[str, ...] = ()
    captured: dict[str, str] = {}
    open_keys: tuple[tuple[str, ...], ...] = ()
    characters: dict[str, int] = {}
    matches: dict[str, int] = {}
    shadow_matches: dict[str, int] = {}
    denied: str | None = None
    cut: bool = False
    failed: bool = False
    done: bool = False
