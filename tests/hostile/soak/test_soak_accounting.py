"""The account of the soak sees what it is there for; otherwise its silence would say nothing."""

from __future__ import annotations

import random

import msgspec
import pytest

from hostile.soak.accounting import Record, account
from hostile.soak.seeded import Seeded

_CLIENT = Record(
    number=7, kind="short", role="client", error="", wrong=None, sent=100, received=50, opened=10.0, first=10.1, ended=11.0,
    stall=0.1,
)  # fmt: skip
_SERVER = msgspec.structs.replace(_CLIENT, role="server", sent=50, received=100, opened=10.05)


def end(record, **changes):
    return msgspec.structs.replace(record, **changes)


def received_of(pieces):
    """The first wrong byte of a stream that arrives in these pieces."""
    stream = Seeded("7/up")
    return next((wrong for wrong in map(stream.first_wrong, pieces) if wrong is not None), None)


def stream(length):
    return Seeded("7/up").take(length)


def test_a_stream_that_arrives_as_it_was_sent_is_right_however_it_is_cut():
    whole, chance, pieces, at = stream(100_000), random.Random(1), [], 0
    while at < len(whole):
        length = chance.randrange(1, 20_000)
        pieces.append(whole[at : at + length])
        at += length
    assert received_of(pieces) is None


@pytest.mark.parametrize("length", [1, 13, 8192, 16_384])
def test_bytes_that_are_lost_repeated_exchanged_or_changed_are_seen_where_it_happened(length):
    whole, at = stream(60_000), 20_000
    before, piece, after = whole[:at], whole[at : at + length], whole[at + length :]
    assert at <= received_of([before + after]) < at + 9
    assert at + length <= received_of([before + piece + piece + after]) < at + length + 9
    assert at <= received_of([before + after[:length] + piece + after[length:]]) < at + 9
    assert received_of([before + bytes([piece[0] ^ 1]) + piece[1:] + after]) == at


def test_a_connection_that_is_whole_is_no_defect():
    found = account([_CLIENT], [_SERVER])
    assert (found.defects, found.broken, found.received, found.lost) == ((), [], 150, 0)


@pytest.mark.parametrize(
    ("dialled", "served", "defect"),
    [
        ([_CLIENT], [end(_SERVER, received=99)], "ended in order with 1 bytes lost"),
        ([end(_CLIENT, received=0)], [_SERVER], "ended in order with 50 bytes lost"),
        ([_CLIENT], [], "ended in order and was never served"),
        ([_CLIENT], [_SERVER, _SERVER], "was served twice"),
        ([], [_SERVER], "was served and never dialled"),
        ([_CLIENT], [end(_SERVER, wrong=12)], "byte 12 is wrong at the server"),
        ([end(_CLIENT, ended=None)], [_SERVER], "does not end at the client"),
        ([end(_CLIENT, error="TimeoutError")], [_SERVER], "stands still at the client"),
    ],
)
def test_what_must_not_be_is_a_defect(dialled, served, defect):
    assert any(defect in found for found in account(dialled, served).defects)


def test_a_connection_that_broke_loses_what_was_under_way_and_is_explained_by_what_it_met_only():
    found = account([end(_CLIENT, error="ConnectionResetError", received=20)], [end(_SERVER, received=90)])
    assert (found.defects, found.lost) == ((), 40)
    for interval in ((10.5, 10.5), (9.9, 10.1), (10.9, 12.0), (9.0, 12.0)):
        assert found.unexplained([interval]) == []
    for interval in ((9.0, 9.9), (11.1, 12.0)):
        assert found.unexplained([interval]) == found.broken
