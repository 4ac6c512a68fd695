"""Names that others have chosen, as they may stand in figures, reports and logs."""

from __future__ import annotations

import msgspec

_LONGEST = 128


def countable(name: str) -> str:
    """Return the name, cut to 128 characters, and with `?` for what cannot be printed, or has no UTF-8."""
    return "".join(one if one.isprintable() else "?" for one in name[:_LONGEST])


def writable(text: str) -> str:
    """Return the text with `?` for what has no UTF-8."""
    return text.encode(errors="replace").decode()


def writable_fields(struct: msgspec.Struct) -> dict[str, object]:
    """Return the fields of `struct`, with every string in them writable."""
    return {name: _writable(getattr(struct, name)) for name in struct.__struct_fields__}


def _writable(value: object) -> object:
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, tuple):
        return tuple(map(_writable, value))
    if isinstance(value, dict):
        return {_writable(key): _writable(inner) for key, inner in value.items()}
    return value
