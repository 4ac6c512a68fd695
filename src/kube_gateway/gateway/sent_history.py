"""What has been sent, by time. The kernel's counters only grow; they are read once a second, and what they grew by is kept.

For the last two minutes each second is kept, for the last day each minute; that is bounded, whatever the pod does. What is
older is forgotten, and so is what lies between two gateways of which the newer has other counters: a receipt says so.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from kube_gateway.model.sent import KINDS, MOST_PEERS, REST, SentReport, SentTo, with_the_most

SECONDS_KEPT = 120
MINUTES_KEPT = 24 * 60
_A_MINUTE = 60.0
"""Seconds."""

_READINGS_OF_A_MINUTE = 60
"""One each second."""

MOST_PEERS_OF_A_SAMPLE = 20
"""Peers that are named in one second or minute, those with the most; the others count as one."""

_CLOCK_WAS_SET = 1.0
"""Seconds by which the clock may go wrong between two readings before it counts as set."""

_Peer = tuple[str, str]


class Sample(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What was sent from `begin` to `end` (seconds since the epoch). `peers` has bytes and packets by address and kind.

    `first` and `last` number the readings in it. `clear` is the most connections that stood in clear, `clear_at_end` those
    at the last reading; `steps` is how often the clock was set.
    """

    first: int
    last: int
    begin: float
    end: float
    totals: tuple[int, ...]
    peers: tuple[SentTo, ...]
    clear: int
    clear_at_end: int
    steps: int = 0


_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(Sample)


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent from `begin` to `end`, without what was sent in `gaps`. `clear_now` is -1 where nothing is known."""

    begin: float
    end: float
    gaps: tuple[tuple[float, float], ...]
    totals: dict[str, int]
    peers: tuple[SentTo, ...]
    clear_now: int
    clear_most: int
    clock_steps: int


class SentHistory:
    """Fed with readings of the counters, in order. No clock of its own."""

    def __init__(self) -> None:
        self._seconds: deque[Sample] = deque(maxlen=SECONDS_KEPT)
        # Packed: they are many, and seldom asked for.
        self._minutes: deque[bytes] = deque(maxlen=MINUTES_KEPT)
        self._open: list[Sample] = []
        self._number = 0
        self._read: SentReport | None = None
        self._peers: dict[_Peer, SentTo] = {}
        self._time = self._steady = 0.0

    def add(self, read: SentReport, *, time: float, steady: float, clear: int) -> None:
        """Take a reading, made at `time` (seconds since the epoch) and `steady` (seconds of a clock that nobody sets).

        `clear` connections stand in clear. `read.peers` are all that are counted apart.
        """
        before, known = self._read, self._peers
        if before is not None and before.since == read.since and not _grew(before, read):
            before = None
        if before is None or before.since != read.since:
            begin, steps, known, before = min(read.since, time), 0, {}, None
        else:
            passed = steady - self._steady
            steps = int(abs(time - self._time - passed) > _CLOCK_WAS_SET)
            begin = time - passed if steps else self._time
        self._number += 1
        sample = Sample(
            first=self._number,
            last=self._number,
            begin=begin,
            end=time,
            totals=tuple(
                read.totals.get(kind, 0) - (before.totals.get(kind, 0) if before is not None else 0) for kind in KINDS
            ),
            peers=_named(_growth(read.peers, known), most=MOST_PEERS_OF_A_SAMPLE),
            clear=clear,
            clear_at_end=clear,
            steps=steps,
        )
        self._read, self._time, self._steady = read, time, steady
        self._peers = {(peer.address, peer.kind): peer for peer in read.peers}
        self._keep(sample)

    def between(self, since: float, until: float) -> Period:
        """Return what was sent in a period (seconds since the epoch), made longer, never shorter, to fit what is kept."""
        found = [sample for sample in self._kept() if _is_within(sample, since, until)]
        begin = min([since, *(sample.begin for sample in found)])
        end = max([until, *(sample.end for sample in found)])
        return Period(
            begin=begin,
            end=end,
            gaps=tuple(_gaps(found, begin, end)),
            totals={kind: sum(sample.totals[place] for sample in found) for place, kind in enumerate(KINDS)},
            peers=_summed(found),
            clear_now=found[-1].clear_at_end if found else -1,
            clear_most=max((sample.clear for sample in found), default=-1),
            clock_steps=sum(sample.steps for sample in found),
        )

    def _keep(self, sample: Sample) -> None:
        self._seconds.append(sample)
        self._open.append(sample)
        # Also by number: a clock that is set again and again must not keep a minute open.
        if sample.end - self._open[0].begin >= _A_MINUTE or len(self._open) >= _READINGS_OF_A_MINUTE:
            self._minutes.append(zlib.compress(_packer.encode(_joined(self._open)), level=1))
            self._open = []

    def _kept(self) -> Iterator[Sample]:
        """All that is known, each reading once: minutes, and after them seconds."""
        first = self._seconds[0].first if self._seconds else 0
        last = 0
        for packed in self._minutes:
            minute = _unpacker.decode(zlib.decompress(packed))
            if minute.first < first:
                last = minute.last
                yield minute
        yield from (second for second in self._seconds if second.first > last)


def _is_within(sample: Sample, since: float, until: float) -> bool:
    """Whether a part of it is. One that took no time, by a clock that is coarse or was set, is at its moment."""
    moment = sample.begin == sample.end and since <= sample.begin <= until
    return moment or (sample.end > since and sample.begin < until)


def _grew(before: SentReport, read: SentReport) -> bool:
    return all(read.totals.get(kind, 0) >= count for kind, count in before.totals.items())


def _growth(peers: Iterable[SentTo], known: dict[_Peer, SentTo]) -> Iterator[SentTo]:
    for peer in peers:
        before = known.get((peer.address, peer.kind))
        if before is None:
            yield peer
        elif peer.bytes > before.bytes or peer.packets > before.packets:
            grown, packets = max(peer.bytes - before.bytes, 0), max(peer.packets - before.packets, 0)
            yield SentTo(address=peer.address, kind=peer.kind, bytes=grown, packets=packets)


def _named(peers: Iterable[SentTo], *, most: int) -> tuple[SentTo, ...]:
    """Those with the most by their address, and what went to the others by kind."""
    every = with_the_most(peers, most=1 << 32)
    named = [peer for peer in every if peer.address != REST][:most]
    kept = set(map(_key, named))
    rest: dict[str, tuple[int, int]] = {}
    for peer in every:
        if _key(peer) not in kept:
            count, packets = rest.get(peer.kind, (0, 0))
            rest[peer.kind] = count + peer.bytes, packets + peer.packets
    others = (
        SentTo(address=REST, kind=kind, bytes=count, packets=packets) for kind, (count, packets) in sorted(rest.items())
    )
    return (*named, *others)


def _key(peer: SentTo) -> _Peer:
    return peer.address, peer.kind


def _added(samples: Iterable[Sample]) -> Iterator[SentTo]:
    sums: dict[_Peer, tuple[int, int]] = {}
    for sample in samples:
        for peer in sample.peers:
            count, packets = sums.get(_key(peer), (0, 0))
            sums[_key(peer)] = count + peer.bytes, packets + peer.packets
    for (address, kind), (count, packets) in sums.items():
        yield SentTo(address=address, kind=kind, bytes=count, packets=packets)


def _summed(samples: Iterable[Sample]) -> tuple[SentTo, ...]:
    return _named(_added(samples), most=MOST_PEERS)


def _joined(samples: list[Sample]) -> Sample:
    return Sample(
        first=samples[0].first,
        last=samples[-1].last,
        begin=min(sample.begin for sample in samples),
        end=max(sample.end for sample in samples),
        totals=tuple(map(sum, zip(*(sample.totals for sample in samples), strict=True))),
        peers=_named(_added(samples), most=MOST_PEERS_OF_A_SAMPLE),
        clear=max(sample.clear for sample in samples),
        clear_at_end=samples[-1].clear_at_end,
        steps=sum(sample.steps for sample in samples),
    )


def _gaps(samples: list[Sample], begin: float, end: float) -> Iterator[tuple[float, float]]:
    """The parts of the period that no sample covers."""
    covered = begin
    for sample in sorted(samples, key=lambda sample: sample.begin):
        if sample.begin > covered:
            yield covered, sample.begin
        covered = max(covered, sample.end)
    if end > covered:
        yield covered, end
