"""Input that nobody honest sends: seeds that are tried in every run, values of any message, and changes to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

_CORPUS = Path(__file__).with_name("corpus")


def corpus(folder: str) -> dict[str, bytes]:
    """The files of a folder of the corpus. Each is one input that is, or once was, of interest."""
    found = {path.name: path.read_bytes() for path in sorted((_CORPUS / folder).iterdir())}
    assert found, f"no inputs in {folder}"
    return found


scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 65535, 65536, 2**31, 2**53, 2**63, 2**64 - 1, 1e308, -0.0])
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(["", "10.0.0.1", "::1", "fe80::1%eth0", "127.0.0.1", "x" * 5000, "\x00", "../..", "ready", "tls"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def lines(draw: st.DrawFn, kinds: tuple[type, ...]) -> bytes:
    """The line of a message of one of the kinds, right or changed somewhere, or no message at all."""
    message = draw(st.sampled_from(kinds).flatmap(st.from_type))
    try:
        value = msgspec.json.decode(msgspec.json.encode(message))
    except (OverflowError, TypeError, UnicodeEncodeError, msgspec.MsgspecError):
        # Not every value that a type allows can be said.
        value = {"type": type(message).__name__}
    for _ in range(draw(st.integers(0, 3))):
        value = _changed(draw, value)
    line = json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    return draw(broken(line)) if draw(st.integers(0, 3)) == 0 else line


@st.composite
def near(draw: st.DrawFn, right: Any) -> Any:
    """A JSON value that is right, or has a few members that are not."""
    value = json.loads(json.dumps(right))
    for _ in range(draw(st.integers(0, 2))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """With one member, somewhere, added, removed or another value."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _changed(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 2)):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], _changed(draw, value[index]), *value[index + 1 :]]
    if isinstance(value, dict) and draw(st.booleans()):
        dropped = draw(st.sampled_from(sorted(value))) if value else ""
        kept = {key: member for key, member in value.items() if key != dropped}
        return kept | draw(st.dictionaries(st.text(max_size=8), values, max_size=1))
    if isinstance(value, list):
        return value * draw(st.sampled_from([0, 2, 50]))
    return draw(values)


@st.composite
def broken(draw: st.DrawFn, line: bytes) -> bytes:
    """The bytes with some of them changed, cut out or put in."""
    out = bytearray(line)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(out)))
        end = draw(st.integers(start, min(len(out), start + 8)))
        out[start:end] = draw(st.binary(max_size=6))
    return bytes(out)
