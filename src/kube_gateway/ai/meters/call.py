"""One LLM call that has ended, as everything that counts or tells of it sees it.

The engine fills it in once, at the end, from what the client asked for, what the policy made of it and what the filter of
the answer saw. Nothing of it is content, but for `texts`, which the policy has to ask for.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from kube_gateway.ai.dialect import Operation, Reason
from kube_gateway.ai.shape import LaneName


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens. `input` and `output` are totals, which the others are part of. `estimated`: not by the server's own word."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_creation_input: int = 0
    reasoning: int = 0
    estimated: bool = False


class Text(msgspec.Struct, frozen=True):
    """A text of the call as the client, or the model, has sent it."""

    lane: LaneName
    text: str


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """All times are in seconds; `started` is since the epoch. What is not known is None, empty or 0.

    `provider` is as in OpenTelemetry's GenAI conventions (`Dialect.provider`), `operation` is the policy's word
    (`Endpoint.operation`), for which they may have another. `dialect` and `endpoint` are their names, `destination` is the
    upstream's `ip:port`. `traceparent` is what the request says of its trace (W3C Trace Context), if that is valid.

    `requested_model` is what the client asked for, `model` what was sent upstream, `response_model` what the answer says.
    `status` is what the client got, 0 if nothing. `overhead` is the gateway's own share of `duration`;
    `first_byte` is from the request's end to the first byte of the answer, which may be long before the model has begun;
    `first_chunk` to its first event.

    `blocked`: the gateway has answered itself, or ended the answer, and why; `rule` is the one that did. `cut`: a limit of
    tokens ended it, of `most_output` in all. `limit` is what the request that was sent says of one answer. `edits` are what
    was changed of the request (`model`, `limit`, `prompt`, ...). `matches` and `shadow_matches` are hits by rule id, of
    rules in force and of rules that only count. `failed`: the upstream reported an error, or broke off. `hook_failures` are
    by rule id.

    `usage` is None for calls that have none (`models`, `manage`, blocked before the upstream saw them).
    `policy_revision` and `policy_hash` name the policy that applied.
    """

    started: float
    duration: float
    dialect: str
    provider: str
    endpoint: str
    operation: Operation
    method: str
    target: str
    destination: str
    connection: int = 0
    traceparent: str = ""
    requested_model: str = ""
    model: str = ""
    response_model: str = ""
    response_id: str = ""
    streaming: bool = False
    status: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    first_byte: float | None = None
    first_chunk: float | None = None
    overhead: float = 0.0
    events: int = 0
    usage: Usage | None = None
    limit: int | None = None
    most_output: int | None = None
    finish: tuple[str, ...] = ()
    blocked: Reason | None = None
    rule: str = ""
    cut: bool = False
    failed: bool = False
    client_gone: bool = False
    edits: tuple[str, ...] = ()
    matches: dict[str, int] = {}
    shadow_matches: dict[str, int] = {}
    hook_failures: dict[str, int] = {}
    policy_revision: int = 0
    policy_hash: str = ""
    texts: tuple[Text, ...] = ()


class Meters(Protocol):
    """Where the engine tells what has ended. Called from several threads at once; it returns soon and raises nothing."""

    def ended(self, call: Call) -> None:
        """Count, log and trace one call; exactly once for each that was decided on."""
        ...
