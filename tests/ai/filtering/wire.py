"""Streams as servers write them and as clients read them, without any of the code that is tested."""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from hypothesis import strategies as st

from kube_gateway._native import FilterPlan, Patterns, StreamFilter
from kube_gateway.ai.dialect import Outcome
from kube_gateway.ai.pattern import Pattern
from kube_gateway.ai.shape import ResponseShape

HALVES = re.compile("[\ud800-\udfff]")


def patterns(*wanted: Pattern) -> Patterns:
    return Patterns(msgspec.json.encode(wanted))


def words(*literals: str, **fields: object) -> Patterns:
    return patterns(*(Pattern(id=literal, literal=literal, **fields) for literal in literals))  # type: ignore[arg-type]


def plan(
    shape: ResponseShape, *, mask: Patterns | None = None, lanes: Sequence[str] = ("output",), **more: object
) -> FilterPlan:
    by_lane = {} if mask is None else dict.fromkeys(lanes, mask)
    return FilterPlan(msgspec.json.encode(shape), patterns=by_lane, **more)  # type: ignore[arg-type]


def run(filtering: StreamFilter, pieces: Iterable[bytes]) -> bytes:
    return b"".join(filtering.feed(piece) for piece in pieces) + filtering.finish()


def outcome(filtering: StreamFilter) -> Outcome:
    return msgspec.json.decode(filtering.outcome(), type=Outcome)


def cut(data: bytes, places: Iterable[int] | None) -> list[bytes]:
    """Cut `data` at some places; None: at all."""
    if places is None:
        return [data[at : at + 1] for at in range(len(data))]
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(at)]


CUTS = st.one_of(st.none(), st.lists(st.integers(0, 10_000), max_size=12))


def sse(data: bytes) -> list[tuple[str, str]]:
    """Read server-sent events as WHATWG HTML, 9.2.6, has it: type and data."""
    events = []
    kind, lines = "", []
    for line in re.split("\r\n|\n|\r", data.decode().removeprefix("\ufeff")):
        if not line:
            if lines:
                events.append((kind, "\n".join(lines)))
            kind, lines = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            lines.append(value)
        elif name == "event":
            kind = value
    return events


def whole_text(pieces: Iterable[str]) -> str:
    """Join pieces as UTF-16 does: halves of surrogate pairs find each other, and those that do not are U+FFFD."""
    joined = "".join(pieces).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return HALVES.sub("\ufffd", joined)


def units(text: str) -> list[str]:
    """Cut a text into UTF-16 code units, each as a str of one (surrogate) character."""
    raw = text.encode("utf-16-le", "surrogatepass")
    return [chr(int.from_bytes(raw[at : at + 2], "little")) for at in range(0, len(raw), 2)]


def pair(piece: str) -> str:
    return piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


@st.composite
def written(draw: st.DrawFn, text: str) -> str:
    """Return a JSON string for `text`, with any of the ways to write a character."""
    how = draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    out = []
    for index, character in enumerate(pair(text)):
        way = how[index % len(how)]
        if HALVES.match(character) or way == 3:
            out.append("".join(f"\\u{ord(unit):04x}" for unit in units(character)))
        elif way == 2:
            out.append("".join(f"\\u{ord(unit):04X}" for unit in units(character)))
        else:
            out.append(json.dumps(character, ensure_ascii=way == 1)[1:-1])
    return '"' + "".join(out) + '"'


@st.composite
def in_pieces(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text into pieces, between the halves of surrogate pairs too."""
    all_units = units(text)
    places = draw(st.lists(st.integers(0, len(all_units)), max_size=6))
    at = sorted({0, len(all_units), *places})
    return ["".join(all_units[start:end]) for start, end in itertools.pairwise(at)] or [""]


TEXTS = st.text(alphabet=st.sampled_from('aab \né"\\/😀🎉\ud83d\ude00'), max_size=14)
# Overlapping words, an open end, characters of four bytes, and replacements that have to be escaped.
MASKED = (
    Pattern(id="ab", literal="ab", replacement="#"),
    Pattern(id="aba", literal="aba", replacement='"\\\n'),
    Pattern(id="b+", regex=" b+", replacement="_"),
    Pattern(id="smile", literal="😀a"),
    Pattern(id="é", literal="é\n", replacement="😀"),
    Pattern(id="quote", literal='""', replacement="''"),
)


def interleaved(draw: st.DrawFn, queues: Sequence[list[str]]) -> Iterator[tuple[int, str]]:
    """Yield (queue, piece) in any order that keeps the order of each queue."""
    queues = [list(queue) for queue in queues]
    while any(queues):
        index = draw(st.sampled_from([at for at, queue in enumerate(queues) if queue]))
        yield index, queues[index].pop(0)
