"""Numbers in the body of a request, as servers read them, and how many of them there are."""

from __future__ import annotations

import re

from kube_gateway import _native

_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
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


def prompts_in(array: bytes) -> int:
    """Return how many prompts there are in a JSON array: of strings, of lists of numbers, or one of numbers."""
    structure = _STRING.sub(b'"', array)
    return max(structure.count(b'"') + structure.count(b"[") - 1, 1)


def numbers_in(array: bytes) -> int:
    """Return how many numbers there are in a JSON array and the arrays in it; a few more if there are other things."""
    structure = _STRING.sub(b'"', array)
    values = structure.count(b",") + 1 - structure.count(b'"')
    return max(values, 0) if re.search(rb"[0-9]", structure) else 0
