"""A pattern in text, as the native matcher compiles it."""

from __future__ import annotations

from typing import Literal

import msgspec

Check = Literal["luhn", "iban"]
Action = Literal["mask", "deny"]


class Pattern(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Exactly one of `literal` and `regex` (syntax of Rust's regex crate; word boundaries are ASCII ones).

    `words`: no ASCII letter, digit or underscore stands directly before or after the match. `check`: a match counts only
    if it has at most 128 bytes and its digits pass; otherwise shorter ones may. A match has at most 64 KiB. Several
    patterns may share an `id`: their matches are counted together. `replacement` stands in the place of a masked match;
    `{hash}` in it is the first 8 hexadecimal digits of an HMAC-SHA256 of the match, so that equal values stay equal.
    `expand`: `$1` and `${name}` in it are groups of `regex`, and `$$` is a dollar.
    """

    id: str
    literal: str | None = None
    regex: str | None = None
    ignore_case: bool = False
    words: bool = False
    check: Check | None = None
    action: Action = "mask"
    replacement: str = "***"
    expand: bool = False
