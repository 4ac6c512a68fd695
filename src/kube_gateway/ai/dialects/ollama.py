"""Ollama's own API under `/api`: newline-delimited JSON, and a stream unless told otherwise.

Source: Ollama, docs/api.md, server/routes.go and api/types.go (0.9.6). Arguments of tools are objects, not text. A stream
ends with a line that has `done: true` and the counts. The last line of `/api/generate` also has `context`: the tokens of
the whole conversation, which would carry masked text to the next request; it goes when a text was changed.

What changes the server (pull, push, create, copy, delete, blobs) is the operation `manage`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from kube_gateway.ai.dialect import Asked, Ending, Outcome, Reason, Reply, Totals
from kube_gateway.ai.dialects import _wire
from kube_gateway.ai.dialects._ollama_shapes import ENDPOINTS

_LINES = ("content-type", "application/x-ndjson")
_COUNTS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
)


class Ollama:
    """Chat, generation and embeddings of Ollama, and the management of its models."""

    name = "ollama"
    provider = "ollama"
    endpoints = ENDPOINTS

    def error(
        self, asked: Asked, *, status: int, reason: Reason, message: str, retry_after: int | None = None
    ) -> Reply:
        """Return an error: a text is all that there is to one."""
        del asked, reason
        return _wire.refused({"error": message}, status=status, retry_after=retry_after)

    def answer(self, asked: Asked, *, text: str) -> Reply:
        """Return one line that says `text` and one that ends, or both in one document."""
        if asked.endpoint.operation not in {"chat", "text_completion"}:
            return self.error(asked, status=403, reason="blocked", message=text)
        counts = dict.fromkeys(_COUNTS, 0)
        done = {"done_reason": "stop", "done": True, **counts}
        if not asked.streaming:
            return _wire.whole({**_said(asked, text), **done})
        lines = ({**_said(asked, text), "done": False}, {**_said(asked, ""), **done})
        return _wire.streamed((_wire.document(line) + b"\n" for line in lines), header=_LINES)

    def ending(self, asked: Asked, *, outcome: Outcome, reason: Ending, message: str) -> bytes:
        """Return the last line. There is no place for the message in it."""
        del message
        line = {
            **_said(asked, ""),
            "done_reason": "length" if reason == "length" else "content_filter",
            "done": True,
            **({"prompt_eval_count": outcome.usage["input"]} if "input" in outcome.usage else {}),
            **({"eval_count": outcome.usage["output"]} if "output" in outcome.usage else {}),
        }
        return _wire.document(line) + b"\n"

    def totals(self, usage: Mapping[str, int]) -> Totals:
        """Return the counts as they are."""
        return _wire.plain_totals(usage)


def _said(asked: Asked, text: str) -> dict[str, object]:
    moment = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    said = (
        {"response": text} if asked.endpoint.name == "generate" else {"message": {"role": "assistant", "content": text}}
    )
    return {"model": asked.model, "created_at": moment, **said}


DIALECT = Ollama()
