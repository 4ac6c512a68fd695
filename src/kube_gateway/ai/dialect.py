"""What a dialect is: one module, one object, and everything else works with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from kube_gateway.ai.shape import Framing, RequestShape, ResponseShape

Operation = Literal["chat", "text_completion", "embeddings", "models", "count_tokens", "batch", "stored", "manage"]
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
    "unreadable_answer",
]

Naming = Literal["exact", "ollama"]
"""How a server takes names of models, see `kube_gateway.ai.policy.naming`."""

Ending = Reason | Literal["length"]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of call: requests with `method` whose path (without query) ends with the regular expression `pattern`.

    A group named `model` in `pattern` is the model, as it is escaped in a URL. `json_framing` is how an `application/json`
    answer is framed when a stream was asked for. `streams`: `never`, `always`, `by_body` (see `RequestShape.stream`) or
    `by_query` (the query has `stream=true`). `naming`: how names of models are taken.
    """

    name: str
    operation: Operation
    method: str
    pattern: str
    request: RequestShape
    response: ResponseShape
    stream: ResponseShape | None = None
    streams: Literal["never", "by_body", "by_query", "always"] = "by_body"
    stream_type: str = "text/event-stream"
    json_framing: Framing = "whole"
    naming: Naming = "exact"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer of the gateway itself."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asked for, as far as an answer in its place needs it.

    `model`: the name that answers shall carry: the client's own, or the upstream's where that one is passed on.
    `target`: of the request, with the query.
    """

    endpoint: Endpoint
    model: str
    target: str = ""
    streaming: bool
    wants_usage: bool
    choices: int = 1


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one call: `input` with what came from caches, `output` with what was thought."""

    input: int
    output: int


class Dialect(Protocol):
    """One LLM API. Adding one is adding a module with such an object, `DIALECT`, to `kube_gateway.ai.dialects`.

    `provider` is the name that OpenTelemetry's conventions for generative AI give it (`gen_ai.provider.name`).
    """

    name: str
    provider: str
    endpoints: tuple[Endpoint, ...]

    def error(
        self, asked: Asked, *, status: int, reason: Reason, message: str, retry_after: int | None = None
    ) -> Reply:
        """Return an error that this dialect's clients raise, and do not try again. `retry_after` is in seconds."""
        ...

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return `text` as if the model had said it; a stream where one was asked for.

        Where no text can be the answer (embeddings, lists of models), it is the message of an error.
        """
        ...

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return what ends a stream that has begun, so that clients take it as ended: by a filter, or by a limit."""
        ...

    def totals(self, usage: Mapping[str, int]) -> Totals:
        """Return what was used in all, of the numbers that the shape's `usage` paths name."""
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the filter of a response has seen. Lists and mappings are by what was seen first.

    `sent`: events that have gone out, with those that were added, without one that was denied; of those are `captured`,
    `sequence` (the last number of an event) and `ended_keys` (of the ends, as `End.key` names them). `opened`: the
    bracket of an array has gone out, be it before any event. `open_keys`: of texts that have begun and not ended.
    `characters`: code points by lane, before any change. `matches` and `shadow_matches`: by pattern id. `unreadable`:
    events that were no JSON, or too long, and passed as they were. `texts`: by lane, where they were to be kept.
    `denied`: the pattern or tool rule that ended it. `cut`: the token limit did. `failed`: an event of the upstream
    reported an error. `done`: the stream came to its end.
    """

    events: int = 0
    sent: int = 0
    opened: bool = False
    sequence: int | None = None
    model: str | None = None
    usage: dict[str, int] = {}
    finish: tuple[str, ...] = ()
    captured: dict[str, str] = {}
    open_keys: tuple[tuple[str, ...], ...] = ()
    ended_keys: tuple[tuple[str, ...], ...] = ()
    characters: dict[str, int] = {}
    matches: dict[str, int] = {}
    shadow_matches: dict[str, int] = {}
    unreadable: int = 0
    texts: dict[str, str] = {}
    denied: str | None = None
    cut: bool = False
    failed: bool = False
    done: bool = False
