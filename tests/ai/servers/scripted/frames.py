"""How an event is put on the wire."""

from __future__ import annotations

import msgspec


def sse(value: dict, *, name: str | None = None) -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(value) + b"\n\n"
