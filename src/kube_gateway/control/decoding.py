"""JSON of others: whatever it is, it is a message or a `ValueError`.

msgspec raises `RecursionError` for what is nested too deeply, also where a field that is not known is only skipped. That is
no `ValueError`, so a line of brackets would pass every handler of messages that are not understood.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

Message = TypeVar("Message")


def decoded(decoder: msgspec.json.Decoder[Message], text: bytes) -> Message:
    """Return what `text` says. Raises `ValueError` (mostly `msgspec.DecodeError`) when it is not of the decoder's kind."""
    try:
        return decoder.decode(text)
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None
