"""A pattern in text, as the native matcher compiles it."""

from __future__ import annotations

from typing import Literal

import msgspec

Check = Literal["luhn", "iban"]
Action = Literal["mask", "deny"]


class Pattern(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Exactly one of `literal` and `regex`. `words`: the match begins and ends at an (ASCII) word boundary.

    `check`: a match counts only if the digits pass. `replacement` stands in the place of a masked match; `{hash}` in it is
    the first 8 hexadecimal digits of an HMAC-SHA256 of the match, so that equal values stay equal. `expand`: `$1` and
    `${name}` in it are groups of `regex`, and `$$` is a dollar.
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
