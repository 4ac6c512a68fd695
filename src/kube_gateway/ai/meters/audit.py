"""The audit log: one line of JSON for each LLM call, on the gateway's standard output, where logs are collected anyway.

A line says who asked which model for what and what came of it. What was said is in it only by the policy's choice: as an
HMAC, which stays the same for the same text and tells nothing else, or in full. Logs are turned over by whoever collects
them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import threading
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from kube_gateway.ai.meters.call import Call, Text
from kube_gateway.ai.meters.names import writable, writable_fields

Content = Literal["none", "hash", "full"]

_LEFT_OUT = {"started", "texts"}
_SECRET_QUERY = {"key", "api_key", "api-key", "access_token"}

# To look them up takes longer than all the rest of a call's line.
_FIELDS = tuple(field for field in msgspec.structs.fields(Call) if field.name not in _LEFT_OUT)


class AuditLog:
    """Writes to the descriptor `file`; `key` is for hashes."""

    def __init__(self, *, file: int, content: Content, key: bytes) -> None:
        self._file = file
        self._content = content
        self._key = key
        self._lock = threading.Lock()

    def ended(self, call: Call) -> None:
        """Write one call's line. Raises `OSError` when it cannot be written."""
        line = memoryview(self.line(call))
        with self._lock:
            while line:
                line = line[os.write(self._file, line) :]

    def line(self, call: Call) -> bytes:
        """The line as it is written; what has its default value is left out."""
        told: dict[str, Any] = {
            "kind": "llm_call",
            "time": datetime.fromtimestamp(call.started, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        fields = writable_fields(call)
        for field in _FIELDS:
            value = fields[field.name]
            if field.required or value != _default(field):
                told[field.name] = value
        told["target"] = without_secrets(writable(call.target))
        if self._content != "none" and call.texts:
            told["texts"] = [self._told(text) for text in call.texts]
        return msgspec.json.encode(told) + b"\n"

    def _told(self, text: Text) -> dict[str, str]:
        if self._content == "full":
            return {"lane": text.lane, "text": writable(text.text)}
        digest = hmac.new(self._key, text.text.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()
        return {"lane": text.lane, "hmac": digest}


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if field.default is msgspec.NODEFAULT else field.default


def without_secrets(target: str) -> str:
    """Return a request's target without the keys that some APIs take in the query."""
    path, question, query = target.partition("?")
    parts = [
        f"{name}=***" if equals and name.lower() in _SECRET_QUERY else f"{name}{equals}{value}"
        for name, equals, value in (part.partition("=") for part in query.split("&"))
    ]
    return f"{path}{question}{'&'.join(parts)}"
