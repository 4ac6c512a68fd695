"""Each direction of each TCP connection, put together from captured segments.

A secret may be cut by a segment's end, arrive out of order or twice, so looking into packets one by one is
not proof. A capture also begins in the middle of connections: there is no first byte to count from. Therefore
a stream is a set of runs, each a contiguous stretch of bytes placed by its sequence number; runs grow
together as gaps are filled. Where two segments differ for the same bytes, those that came first are kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from kube_gateway.errors import CaptureError
from kube_gateway.observe.packets import SYN, Segment

DEFAULT_LIMIT = 256 << 20
"""Bytes of payload kept for all streams together."""

_SEQUENCES = 1 << 32
_SYN_REORDERING = 1 << 20  # bytes: a SYN that comes this little before known data is a late one, not a new connection


class Flow(NamedTuple):
    """One direction of a connection."""

    source: str
    source_port: int
    destination: str
    destination_port: int

    @property
    def reverse(self) -> Flow:
        """The other direction."""
        return Flow(self.destination, self.destination_port, self.source, self.source_port)


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """What one direction carried, in order.

    `runs` are separated by gaps. `time` is that of the first segment, in nanoseconds since the epoch. `from_start` says
    whether the first byte of the first run is the first of the connection.
    """

    flow: Flow
    runs: tuple[bytes, ...]
    time: int
    from_start: bool

    @property
    def payload_bytes(self) -> int:
        """Distinct bytes of payload; retransmissions count once."""
        return sum(map(len, self.runs))


class Reassembler:
    """Takes segments in the order of capture. Raises `CaptureError` when more than `limit` payload bytes come."""

    def __init__(self, *, limit: int = DEFAULT_LIMIT) -> None:
        self._current: dict[Flow, _Direction] = {}
        self._finished: list[_Direction] = []
        self._limit = limit
        self._size = 0

    def add(self, segment: Segment, *, time: int) -> None:
        """Place one segment. `time` is nanoseconds since the epoch."""
        flow = Flow(segment.source, segment.source_port, segment.destination, segment.destination_port)
        direction = self._current.get(flow)
        begins = bool(segment.flags & SYN)
        if direction is not None and begins and not direction.accepts_start(segment.sequence):
            self._finished.append(direction)
            direction = None
        if direction is None:
            direction = self._current[flow] = _Direction(flow, (segment.sequence + begins) % _SEQUENCES, time)
        if begins:
            direction.start = segment.sequence
        if segment.payload:
            self._size += direction.place(segment.sequence + begins, segment.payload)
            if self._size > self._limit:
                raise CaptureError(
                    f"capture has more than {self._limit} bytes of TCP payload",
                    hint="capture for a shorter time",
                )

    def streams(self) -> Iterator[Stream]:
        """Yield all directions that were seen, those of earlier connections with the same ports first."""
        for direction in (*self._finished, *self._current.values()):
            yield direction.stream()


class _Direction:
    """Runs of one direction, sorted, never touching each other; positions are sequence numbers without wrap-around."""

    def __init__(self, flow: Flow, sequence: int, time: int) -> None:
        self.start: int | None = None  # the sequence number of the SYN
        self._flow = flow
        self._time = time
        self._latest = sequence + _SEQUENCES  # never negative, also when an earlier segment comes later
        self._positions: list[int] = []
        self._runs: list[bytearray] = []

    def accepts_start(self, sequence: int) -> bool:
        if self.start is not None:
            return self.start == sequence
        first = self._positions[0] if self._positions else self._latest
        return 0 <= first - self._unwrap(sequence + 1) < _SYN_REORDERING

    def place(self, sequence: int, payload: bytes) -> int:
        """Insert what is new of `payload`; return how many bytes that was."""
        position = self._unwrap(sequence)
        self._latest = max(self._latest, position)
        if self._runs and position == self._positions[-1] + len(self._runs[-1]):
            self._runs[-1] += payload
            return len(payload)
        added = 0
        end = position + len(payload)
        index = max(bisect_right(self._positions, position) - 1, 0)
        cursor = position
        while cursor < end:
            if index < len(self._runs) and self._positions[index] <= cursor:
                cursor = max(cursor, self._positions[index] + len(self._runs[index]))
                index += 1
                continue
            stop = min(end, self._positions[index]) if index < len(self._runs) else end
            self._positions.insert(index, cursor)
            self._runs.insert(index, bytearray(payload[cursor - position : stop - position]))
            added += stop - cursor
            index = self._join(index)
            cursor = self._positions[index - 1] + len(self._runs[index - 1])
        return added

    def stream(self) -> Stream:
        first = self._positions[0] if self._positions else None
        from_start = self.start is not None and (first is None or first == self._unwrap(self.start + 1))
        return Stream(flow=self._flow, runs=tuple(map(bytes, self._runs)), time=self._time, from_start=from_start)

    def _unwrap(self, sequence: int) -> int:
        """Return the position nearest to the latest one that has this sequence number."""
        distance = (sequence - self._latest) % _SEQUENCES
        return self._latest + (distance - _SEQUENCES if distance >= _SEQUENCES // 2 else distance)

    def _join(self, index: int) -> int:
        """Merge run `index` with the neighbours that it touches; return the index after the merged run."""
        for left in (index, index - 1):
            touches = 0 <= left < len(self._runs) - 1 and (
                self._positions[left] + len(self._runs[left]) == self._positions[left + 1]
            )
            if touches:
                self._runs[left] += self._runs.pop(left + 1)
                self._positions.pop(left + 1)
                index = left
        return index + 1
