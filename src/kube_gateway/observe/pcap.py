"""Classic pcap files: written with nanoseconds, read in every variant.

A finding that only our own tool can check is worth little, so captures are kept in the format that Wireshark
and tcpdump open. The format is https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap; four magic numbers
tell byte order and resolution. The link type is always Ethernet: bridges, veth pairs and loopback all have
that header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from kube_gateway.errors import CaptureError

LINK_TYPE_ETHERNET = 1
MAX_FRAME = 1 << 20
"""Bytes. Uncut (GSO) packets reach 64 KiB, 512 KiB where an administrator allowed BIG TCP."""

_GLOBAL_HEADER = "IHHiIII"
_RECORD_HEADER = "IIII"
_NANOSECONDS = 0xA1B23C4D
_MICROSECONDS = 0xA1B2C3D4
_UNIT = {_NANOSECONDS: 1, _MICROSECONDS: 1000}


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One captured frame: `time` in nanoseconds since the epoch, `length` as it was on the wire, in bytes."""

    time: int
    data: bytes
    length: int

    @property
    def truncated(self) -> bool:
        """Whether bytes of the frame are missing."""
        return len(self.data) < self.length


class PcapWriter:
    """Writes frames to an open binary file; the file belongs to the caller."""

    def __init__(self, file: BinaryIO, *, nanoseconds: bool = True) -> None:
        magic = _NANOSECONDS if nanoseconds else _MICROSECONDS
        self._file = file
        self._unit = _UNIT[magic]
        self._record = struct.Struct("=" + _RECORD_HEADER)
        file.write(struct.pack("=" + _GLOBAL_HEADER, magic, 2, 4, 0, 0, MAX_FRAME, LINK_TYPE_ETHERNET))

    def write(self, frame: Frame) -> None:
        """Append one frame. Raises `OSError` when the file cannot take it."""
        seconds, rest = divmod(frame.time, 1_000_000_000)
        self._file.write(self._record.pack(seconds, rest // self._unit, len(frame.data), frame.length))
        self._file.write(frame.data)


def read_pcap(path: Path) -> Iterator[Frame]:
    """Yield the frames of a capture file.

    Raises `CaptureError` when the file cannot be read, is not a pcap file of Ethernet frames, or ends within
    a record.
    """
    try:
        with path.open("rb") as file:
            yield from _read(file, path)
    except OSError as error:
        raise CaptureError(f"capture {path} cannot be read: {error.strerror}") from error


def _read(file: BinaryIO, path: Path) -> Iterator[Frame]:
    header = file.read(struct.calcsize("=" + _GLOBAL_HEADER))
    order, unit = _format(header, path)
    record = struct.Struct(order + _RECORD_HEADER)
    while raw := file.read(record.size):
        if len(raw) < record.size:
            raise CaptureError(f"capture {path} ends within a record", hint="was its writer killed? capture again")
        seconds, fraction, captured, length = record.unpack(raw)
        if captured > MAX_FRAME:
            raise CaptureError(f"capture {path} has a record of {captured} bytes: it is damaged")
        data = file.read(captured)
        if len(data) < captured:
            raise CaptureError(f"capture {path} ends within a frame", hint="was its writer killed? capture again")
        yield Frame(time=seconds * 1_000_000_000 + fraction * unit, data=data, length=length)


def _format(header: bytes, path: Path) -> tuple[str, int]:
    """Return the byte order (of `struct`) and nanoseconds per fraction."""
    for order in "<>":
        if len(header) != struct.calcsize(order + _GLOBAL_HEADER):
            break
        magic, *_, link_type = struct.unpack(order + _GLOBAL_HEADER, header)
        if magic in _UNIT:
            if link_type & 0x0FFFFFFF != LINK_TYPE_ETHERNET:
                raise CaptureError(f"capture {path} has link type {link_type}, only Ethernet (1) is read")
            return order, _UNIT[magic]
    raise CaptureError(f"{path} is not a pcap file", hint="pcapng can be converted: editcap -F pcap in.pcapng out.pcap")
