import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.errors import CaptureError
from kube_gateway.observe.packets import ACK, SYN, Segment
from kube_gateway.observe.streams import Flow, Reassembler, Stream

FLOW = Flow("10.89.0.2", 40000, "10.89.0.3", 9000)
WRAP = 1 << 32


def segment(sequence: int, payload: bytes = b"", *, flags: int = ACK, flow: Flow = FLOW) -> Segment:
    return Segment(
        source=flow.source,
        source_port=flow.source_port,
        destination=flow.destination,
        destination_port=flow.destination_port,
        sequence=sequence % WRAP,
        acknowledgement=0,
        flags=flags,
        payload=payload,
    )


def reassemble(*segments: Segment) -> list[Stream]:
    reassembler = Reassembler()
    for time, each in enumerate(segments):
        reassembler.add(each, time=time)
    return list(reassembler.streams())


def test_in_order_with_handshake() -> None:
    (stream,) = reassemble(segment(99, flags=SYN), segment(100, b"ab"), segment(102, b"cd"))
    assert (stream.runs, stream.from_start, stream.payload_bytes, stream.time) == ((b"abcd",), True, 4, 0)


def test_joined_in_the_middle_of_a_connection() -> None:
    (stream,) = reassemble(segment(500, b"ab"), segment(498, b"xy"))
    assert (stream.runs, stream.from_start) == ((b"xyab",), False)


def test_gap_splits_runs_and_is_closed_by_the_late_segment() -> None:
    (stream,) = reassemble(segment(10, b"aa"), segment(14, b"cc"))
    assert stream.runs == (b"aa", b"cc")
    (stream,) = reassemble(segment(10, b"aa"), segment(14, b"cc"), segment(11, b"XbbXX"))
    assert stream.runs == (b"aabbcc",)


def test_one_segment_fills_several_gaps() -> None:
    (stream,) = reassemble(segment(2, b"c"), segment(4, b"e"), segment(6, b"g"), segment(0, b"abcdefghi"))
    assert stream.runs == (b"abcdefghi",)


def test_data_in_the_syn_and_its_retransmission() -> None:
    (stream,) = reassemble(segment(99, b"ab", flags=SYN), segment(99, b"ab", flags=SYN), segment(102, b"c"))
    assert (stream.runs, stream.from_start) == ((b"abc",), True)


def test_late_syn_belongs_to_the_data_seen_before() -> None:
    (stream,) = reassemble(segment(100, b"ab"), segment(99, flags=SYN))
    assert (stream.runs, stream.from_start) == ((b"ab",), True)


def test_ports_used_again_are_another_stream() -> None:
    first, second = reassemble(
        segment(99, flags=SYN), segment(100, b"old"), segment(7_000_000, flags=SYN), segment(7_000_001, b"new")
    )
    assert (first.runs, second.runs) == ((b"old",), (b"new",))


def test_directions_are_separate() -> None:
    streams = reassemble(segment(1, b"ask"), segment(1, b"tell", flow=FLOW.reverse))
    assert {stream.flow: stream.runs for stream in streams} == {FLOW: (b"ask",), FLOW.reverse: (b"tell",)}


def test_limit() -> None:
    reassembler = Reassembler(limit=5)
    reassembler.add(segment(1, b"12345"), time=0)
    reassembler.add(segment(1, b"12345"), time=0)
    with pytest.raises(CaptureError, match="more than 5 bytes"):
        reassembler.add(segment(6, b"6"), time=0)


@st.composite
def transfers(draw: st.DrawFn) -> tuple[bytes, int, list[tuple[int, int]]]:
    """A payload, where its sequence numbers begin, and pieces (begin, end) that cover it, in any order, overlapping."""
    payload = draw(st.binary(min_size=1, max_size=200))
    cuts = sorted(draw(st.sets(st.integers(1, len(payload)), max_size=12)) | {len(payload)})
    pieces = list(zip([0, *cuts], cuts, strict=False))
    extra = draw(st.lists(st.tuples(st.integers(0, len(payload)), st.integers(0, len(payload))), max_size=8))
    pieces += [(min(pair), max(pair)) for pair in extra]
    base = draw(st.one_of(st.integers(0, WRAP - 1), st.integers(WRAP - 210, WRAP - 1)))
    return payload, base, draw(st.permutations(pieces))


@given(transfers(), st.booleans())
def test_any_order_any_overlap_any_start(transfer: tuple[bytes, int, list[tuple[int, int]]], with_syn: bool) -> None:
    payload, base, pieces = transfer
    segments = [segment(base + begin, payload[begin:end]) for begin, end in pieces]
    if with_syn:
        segments.insert(len(segments) // 2, segment(base - 1, flags=SYN))
    (stream,) = reassemble(*segments)
    assert stream.runs == (payload,)
    assert stream.from_start == with_syn


@given(st.binary(min_size=1, max_size=80), st.lists(st.tuples(st.integers(0, 80), st.integers(1, 20)), max_size=20))
def test_runs_are_exactly_the_bytes_that_came(payload: bytes, spans: list[tuple[int, int]]) -> None:
    spans = [(begin, min(begin + size, len(payload))) for begin, size in spans if begin < len(payload)]
    streams = reassemble(*(segment(begin, payload[begin:end]) for begin, end in spans))
    came = [any(begin <= position < end for begin, end in spans) for position in range(len(payload))]
    expected = bytes(payload[position] if present else 0 for position, present in enumerate(came))
    runs, start = [], None
    for position, present in enumerate([*came, False]):
        if present and start is None:
            start = position
        if not present and start is not None:
            runs.append(expected[start:position])
            start = None
    assert [run for stream in streams for run in stream.runs] == runs
