"""Google's Gemini API: `POST …/models/{model}:generateContent` and its kind, as on Vertex AI.

Source: Gemini API reference, "Generating content", "Embeddings", "Tokens"; Vertex AI REST reference; google.rpc.Status;
python-genai `_api_client.py` and `errors.py`. The model is in the path, and whether there is a stream is the method's name.
Embeddings of Vertex AI are its `:predict`, which other servers of models have too, for other things: it counts only for
models that Google publishes.

A stream is server-sent events with `?alt=sse`, and without it one JSON array that grows. There is no last event: the
reason of each candidate to finish is the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kube_gateway.ai.dialect import Asked, Ending, Endpoint, Operation, Outcome, Reason, Reply, Totals
from kube_gateway.ai.dialects import _gemini_shapes as shapes
from kube_gateway.ai.dialects import _wire
from kube_gateway.ai.shape import RequestShape, ResponseShape

_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MODEL = "/(?:models|tunedModels|endpoints)/(?P<model>.+)"
_PUBLISHED = "/publishers/google/models/(?P<model>[^/:]+)"
_LIST = "/v1(?:alpha|beta)[0-9]*/models"
_TYPE = "type.googleapis.com/google.rpc."


def _method(
    verb: str,
    *,
    operation: Operation,
    request: RequestShape,
    response: ResponseShape,
    streams: Literal["never", "always"] = "never",
    models: str = _MODEL,
) -> Endpoint:
    return Endpoint(
        name=verb,
        operation=operation,
        method="POST",
        pattern=f"{models}:{verb}",
        request=request,
        response=response,
        stream=response if streams == "always" else None,
        streams=streams,
        json_framing="array" if streams == "always" else "whole",
    )


def _look(name: str, *, pattern: str, request: RequestShape) -> Endpoint:
    return Endpoint(
        name=name,
        operation="models",
        method="GET",
        pattern=pattern,
        request=request,
        response=ResponseShape(error=shapes.FAILED),
        streams="never",
    )


_GENERATE = shapes.GENERATE_REQUEST
_COUNTED = ResponseShape(error=shapes.FAILED)


class Gemini:
    """Generation, embeddings and counts of Gemini."""

    name = "gemini"
    provider = "gcp.gemini"
    endpoints = (
        _method("generateContent", operation="chat", request=_GENERATE, response=shapes.RESPONSE),
        _method("streamGenerateContent", operation="chat", request=_GENERATE, response=shapes.STREAM, streams="always"),
        _method("countTokens", operation="count_tokens", request=shapes.COUNT_REQUEST, response=_COUNTED),
        _method("embedContent", operation="embeddings", request=shapes.EMBED_REQUEST, response=shapes.EMBED_RESPONSE),
        _method(
            "batchEmbedContents",
            operation="embeddings",
            request=shapes.BATCH_EMBED_REQUEST,
            response=shapes.EMBED_RESPONSE,
        ),
        _method(
            "predict",
            operation="embeddings",
            request=shapes.PREDICT_REQUEST,
            response=shapes.EMBED_RESPONSE,
            models=_PUBLISHED,
        ),
        _method("batchGenerateContent", operation="batch", request=shapes.BATCH_REQUEST, response=_COUNTED),
        Endpoint(
            name="cachedContents",
            operation="manage",
            method="POST",
            pattern="/cachedContents",
            request=shapes.CACHE_REQUEST,
            response=_COUNTED,
            streams="never",
        ),
        _look("gemini_models", pattern=_LIST, request=RequestShape()),
        _look("gemini_model", pattern=_LIST + "/(?P<model>[^/]+)", request=RequestShape(model_in_target=True)),
    )

    def error(
        self, asked: Asked, *, status: int, reason: Reason, message: str, retry_after: int | None = None
    ) -> Reply:
        """Return a google.rpc.Status, in an array where the answer would have been one."""
        info = {"@type": _TYPE + "ErrorInfo", "reason": f"KUBE_GATEWAY_{reason.upper()}", "domain": "kube-gateway.io"}
        details: list[dict[str, str]] = [info]
        if retry_after is not None:
            details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{retry_after}s"})
        kind = _STATUS.get(status, "UNKNOWN")
        value = {"error": {"code": status, "message": message, "status": kind, "details": details}}
        return _wire.refused([value] if _in_array(asked) else value, status=status, retry_after=retry_after)

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return one answer whose candidates all say `text`; a stream of one event where a stream was asked for."""
        if asked.endpoint.operation != "chat":
            return self.error(asked, status=403, reason="blocked", message=text)
        content = {"role": "model", "parts": [{"text": text}]}
        candidates: list[dict[str, object]] = [
            {"content": content, "finishReason": "STOP", "index": index} for index in _wire.choices(asked)
        ]
        value = _answer(asked, candidates=candidates, usage={}, identity=_wire.identifier(""))
        if not asked.streaming:
            return _wire.whole(value)
        return _wire.whole([value]) if _in_array(asked) else _wire.streamed([_wire.event(value)])

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return an event that finishes all candidates which have not finished, and the end of the array."""
        finish = "MAX_TOKENS" if reason == "length" else "BLOCKLIST"
        told: dict[str, object] = {"finishMessage": message} if message and reason != "length" else {}
        candidates: list[dict[str, object]] = [
            {"content": {"role": "model", "parts": []}, "finishReason": finish, **told, "index": index}
            for index in _unfinished(asked, outcome)
        ]
        identity = outcome.captured.get("id") or _wire.identifier("")
        value = _answer(asked, candidates=candidates, usage=outcome.usage, identity=identity)
        if not _in_array(asked):
            return _wire.event(value)
        before = b"," if outcome.sent else b"" if outcome.opened else b"["
        return before + b"\r\n" + _wire.document(value) + b"\r\n]"

    def totals(self, usage: Mapping[str, int]) -> Totals:
        """Return the totals: results of tools are beside the prompt, and thoughts beside the candidates."""
        given = usage.get("input", 0) + usage.get("tool_input", 0)
        return Totals(input=given, output=usage.get("output", 0) + usage.get("reasoning", 0))


def _in_array(asked: Asked) -> bool:
    return asked.endpoint.streams == "always" and _wire.query(asked.target).get("alt") != "sse"


def _unfinished(asked: Asked, outcome: Outcome) -> list[int]:
    """Return the indices of candidates that have not finished. An index of zero is mostly left out."""
    ended = {key[0] or "0" for key in outcome.ended_keys if key}
    begun = {key[0] or "0" for key in outcome.open_keys if key}
    expected = {str(index) for index in _wire.choices(asked)}
    return sorted(int(index) for index in (begun | expected) - ended if index.isascii() and index.isdigit())


def _answer(
    asked: Asked, *, candidates: list[dict[str, object]], usage: Mapping[str, int], identity: str
) -> dict[str, object]:
    counts = {"promptTokenCount": usage.get("input", 0), "candidatesTokenCount": usage.get("output", 0)}
    if "reasoning" in usage:
        counts["thoughtsTokenCount"] = usage["reasoning"]
    return {
        "candidates": candidates,
        "usageMetadata": {**counts, "totalTokenCount": sum(counts.values())},
        "modelVersion": asked.model,
        "responseId": identity,
    }


DIALECT = Gemini()
