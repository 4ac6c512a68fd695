"""TCP segments out of captured Ethernet frames.

The proof of encryption rests on what anybody on the wire can read, so this parser knows nothing of the
gateway. It must never fail: a wire carries ARP, neighbour discovery, fragments and garbage, and frames of up
to 64 KiB that the network stack has not cut yet (GSO), whose length fields may be zero. What is not a whole
TCP segment is None; the raw frame is still searched by `observe.proof`, so nothing escapes by being odd.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import msgspec

SYN = 0x02
ACK = 0x10

_ETHERNET_HEADER = 14
_IPV4_HEADER = 20
_IPV6_HEADER = 40
_TCP_HEADER = 20
_ETHERTYPE_IPV4 = 0x0800
_ETHERTYPE_IPV6 = 0x86DD
_ETHERTYPE_VLAN = (0x8100, 0x88A8)
_PROTOCOL_TCP = 6
_PROTOCOL_FRAGMENT = 44
_PROTOCOL_AUTHENTICATION = 51
_OPTION_HEADERS = (
    0,
    43,
    60,
    135,
    139,
    140,
)  # hop-by-hop, routing, destination, mobility, HIP, shim6 (RFC 8200, IANA)
_IPV4_FRAGMENT_OFFSET = 0x1FFF
_MAX_EXTENSION_HEADERS = 16


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """One TCP segment. Addresses are textual; `flags` are the bits of RFC 9293's second flags byte."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    payload: bytes

    @property
    def starts_connection(self) -> bool:
        """Whether this is a client's SYN."""
        return self.flags & (SYN | ACK) == SYN


def parse_frame(frame: bytes) -> Segment | None:
    """Return the TCP segment in an Ethernet frame, or None when there is none that can be read."""
    if len(frame) < _ETHERNET_HEADER:
        return None
    offset = _ETHERNET_HEADER
    (ethertype,) = struct.unpack_from("!H", frame, offset - 2)
    while ethertype in _ETHERTYPE_VLAN:
        if len(frame) < offset + 4:
            return None
        (ethertype,) = struct.unpack_from("!H", frame, offset + 2)
        offset += 4
    if ethertype == _ETHERTYPE_IPV4:
        return _parse_ipv4(frame[offset:])
    if ethertype == _ETHERTYPE_IPV6:
        return _parse_ipv6(frame[offset:])
    return None


def _parse_ipv4(packet: bytes) -> Segment | None:
    if len(packet) < _IPV4_HEADER or packet[0] >> 4 != 4:
        return None
    header = (packet[0] & 0x0F) * 4
    total, fragment = struct.unpack_from("!2xH2xH", packet)
    if header < _IPV4_HEADER or packet[9] != _PROTOCOL_TCP or fragment & _IPV4_FRAGMENT_OFFSET:
        return None
    end = total or len(packet)  # 0: not cut yet and larger than the field can say
    if not header <= end <= len(packet):
        return None
    return _parse_tcp(packet[header:end], str(IPv4Address(packet[12:16])), str(IPv4Address(packet[16:20])))


def _parse_ipv6(packet: bytes) -> Segment | None:
    if len(packet) < _IPV6_HEADER or packet[0] >> 4 != 6:
        return None
    length, protocol = struct.unpack_from("!HB", packet, 4)
    end = _IPV6_HEADER + length if length else len(packet)
    if end > len(packet):
        return None
    offset = _skip_extension_headers(packet, protocol, end)
    if offset is None:
        return None
    return _parse_tcp(packet[offset:end], str(IPv6Address(packet[8:24])), str(IPv6Address(packet[24:40])))


def _skip_extension_headers(packet: bytes, protocol: int, end: int) -> int | None:
    """Return where the TCP header begins; None if another protocol or a later fragment follows."""
    offset = _IPV6_HEADER
    for _ in range(_MAX_EXTENSION_HEADERS):
        if protocol == _PROTOCOL_TCP:
            return offset
        if end < offset + 8:
            break
        if protocol == _PROTOCOL_FRAGMENT:
            size = 8
            if int.from_bytes(packet[offset + 2 : offset + 4], "big") >> 3:
                break
        elif protocol == _PROTOCOL_AUTHENTICATION:
            size = (packet[offset + 1] + 2) * 4
        elif protocol in _OPTION_HEADERS:
            size = (packet[offset + 1] + 1) * 8
        else:
            break
        protocol = packet[offset]
        offset += size
    return None


def _parse_tcp(segment: bytes, source: str, destination: str) -> Segment | None:
    if len(segment) < _TCP_HEADER:
        return None
    source_port, destination_port, sequence, acknowledgement, offset, flags = struct.unpack_from("!HHIIBB", segment)
    header = (offset >> 4) * 4
    if not _TCP_HEADER <= header <= len(segment):
        return None
    return Segment(
        source=source,
        source_port=source_port,
        destination=destination,
        destination_port=destination_port,
        sequence=sequence,
        acknowledgement=acknowledgement,
        flags=flags,
        payload=segment[header:],
    )
