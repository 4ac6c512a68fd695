"""Frames as they would come from a wire, made by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

from kube_gateway.observe.packets import ACK, SYN
from kube_gateway.observe.pcap import Frame, PcapWriter

CLIENT = "10.89.0.2"
SERVER = "10.89.0.3"


def tcp(
    payload: bytes = b"",
    *,
    sequence: int = 1000,
    source_port: int = 40000,
    destination_port: int = 9000,
    flags: int = ACK,
    options: bytes = b"",
) -> bytes:
    header = struct.pack(
        "!HHIIBBHHH",
        source_port,
        destination_port,
        sequence % (1 << 32),
        7,
        (20 + len(options)) // 4 << 4,
        flags,
        64240,
        0,
        0,
    )
    return header + options + payload


def ipv4(
    body: bytes, *, source: str = CLIENT, destination: str = SERVER, protocol: int = 6, fragment: int = 0
) -> bytes:
    total = 20 + len(body)
    header = struct.pack("!BBHHHBBH", 0x45, 0, total if total < 1 << 16 else 0, 1, fragment, 64, protocol, 0)
    return header + ip_address(source).packed + ip_address(destination).packed + body


def ipv6(body: bytes, *, source: str = "fd89::2", destination: str = "fd89::3", next_header: int = 6) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(body) if len(body) < 1 << 16 else 0, next_header, 64)
    return header + ip_address(source).packed + ip_address(destination).packed + body


def ethernet(packet: bytes, *, padding: int = 0) -> bytes:
    ethertype = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return bytes(12) + struct.pack("!H", ethertype) + packet + bytes(padding)


def request(payload: bytes, *, sequence: int = 1001, client_port: int = 40000, port: int = 9000) -> bytes:
    return ethernet(ipv4(tcp(payload, sequence=sequence, source_port=client_port, destination_port=port)))


def answer(payload: bytes, *, sequence: int = 5001, client_port: int = 40000, port: int = 9000) -> bytes:
    segment = tcp(payload, sequence=sequence, source_port=port, destination_port=client_port)
    return ethernet(ipv4(segment, source=SERVER, destination=CLIENT))


def handshake(*, client_port: int = 40000, port: int = 9000) -> list[bytes]:
    syn = tcp(sequence=1000, source_port=client_port, destination_port=port, flags=SYN)
    syn_ack = tcp(sequence=5000, source_port=port, destination_port=client_port, flags=SYN | ACK)
    return [ethernet(ipv4(syn)), ethernet(ipv4(syn_ack, source=SERVER, destination=CLIENT))]


def write(path: Path, frames: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        writer = PcapWriter(file)
        for index, data in enumerate(frames):
            writer.write(Frame(time=(1_700_000_000 + index) * 1_000_000_000, data=data, length=len(data)))
    return path
