"""Numbers in the body of a request, as servers read them."""

from __future__ import annotations

import re

from kube_gateway import _native

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
ENDLESS = 10**18


def number_of(hit: _native.Hit) -> int | None:
    """Return the number, also where it stands as text, as Gemini's clients may write it; None for what is no number.

    What is beyond `ENDLESS`, in either direction, is `ENDLESS`.
    """
    if hit.kind not in {"number", "string"}:
        return None
    if _INTEGER.fullmatch(hit.text):
        return int(hit.text)
    if not _NUMBER.fullmatch(hit.text):
        return None if hit.kind == "string" else ENDLESS
    value = float(hit.text)
    return int(value) if abs(value) < ENDLESS else ENDLESS
