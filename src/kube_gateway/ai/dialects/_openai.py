"""What the APIs of OpenAI have in common, and with them those of everybody who serves the same paths.

Source: OpenAI API reference, "Error codes", "Chat", "Streaming"; openai-python `_client.py` (class by status) and
`_streaming.py`. The paths are matched by their end, so that `/v1`, `/openai/v1`, `/api/v1` and `/v1beta/openai` are alike.
Azure OpenAI has the model in the path, as a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kube_gateway.ai.dialect import Asked, Endpoint, Outcome, Reason, Reply, Totals
from kube_gateway.ai.dialects import _wire
from kube_gateway.ai.shape import When

DEPLOYMENT = "/deployments/(?P<model>[^/]+)"
DONE = b"data: [DONE]\n\n"

USAGE: dict[str, tuple[str, ...]] = {
    "input": ("usage.prompt_tokens", "x_groq.usage.prompt_tokens"),
    "output": ("usage.completion_tokens", "x_groq.usage.completion_tokens"),
    "cached_input": ("usage.prompt_cache_hit_tokens", "usage.prompt_tokens_details.cached_tokens"),
    "cache_creation_input": ("usage.prompt_tokens_details.cache_write_tokens",),
    "reasoning": ("usage.completion_tokens_details.reasoning_tokens",),
}
"""Usage as of chat completions, completions and embeddings, with the names of DeepSeek and Groq."""

USAGE_EVENT = (When(path="choices", negated=True), When(path="usage"))
"""The extra event at the end. Azure's results of its prompt filter have no choices either, but no usage."""

FAILED = (When(path="error"),)

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_CODES: dict[Reason, str] = {"budget_exhausted": "insufficient_quota", "rate_limited": "rate_limit_exceeded"}


class OpenAI:
    """The part of a dialect that is the same for all APIs of OpenAI."""

    provider = "openai"

    def error(
        self, asked: Asked, *, status: int, reason: Reason, message: str, retry_after: int | None = None
    ) -> Reply:
        """Return an error object. `code` is OpenAI's where it has one, else `kube_gateway_` and the reason."""
        del asked
        code = _CODES.get(reason, f"kube_gateway_{reason}")
        kind = "insufficient_quota" if reason == "budget_exhausted" else _TYPES.get(status, "server_error")
        error = {"message": message, "type": kind, "param": None, "code": code}
        return _wire.refused({"error": error}, status=status, retry_after=retry_after)

    def totals(self, usage: Mapping[str, int]) -> Totals:
        """Return prompt and completion tokens: cached and reasoning tokens are parts of them."""
        return _wire.plain_totals(usage)


def no_usage() -> dict[str, int]:
    """Return the usage of an answer that no model made."""
    return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def known_usage(outcome: Outcome) -> dict[str, int] | None:
    """Return the usage that the upstream has told so far, if any."""
    if not {"input", "output"} & outcome.usage.keys():
        return None
    prompt, completion = outcome.usage.get("input", 0), outcome.usage.get("output", 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def unfinished(asked: Asked, outcome: Outcome) -> list[int]:
    """Return the indices of the choices that a client still waits for."""
    ended = {key[0] for key in outcome.ended_keys if key}
    begun = {key[0] for key in outcome.open_keys if key}
    expected = {str(index) for index in _wire.choices(asked)}
    return sorted(int(index) for index in (begun | expected) - ended if index.isascii() and index.isdigit())


def with_deployment(endpoint: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Return a call, and the same as a deployment of Azure has it: with the model in the target."""
    request = msgspec.structs.replace(endpoint.request, model_in_target=True)
    name, pattern = f"{endpoint.name}_deployment", DEPLOYMENT + endpoint.pattern
    return endpoint, msgspec.structs.replace(endpoint, name=name, pattern=pattern, request=request)


def ended(chunks: Sequence[bytes], *, asked: Asked, outcome: Outcome, head: Mapping[str, object]) -> bytes:
    """Return the last events of a stream: `chunks`, the usage where it was asked for and is known, and the end."""
    usage = known_usage(outcome)
    known = [_wire.event({**head, "choices": [], "usage": usage})] if asked.wants_usage and usage is not None else []
    return b"".join([*chunks, *known, DONE])
