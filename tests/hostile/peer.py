"""What a peer of a gateway says, for programs that speak to its tunnel port themselves."""

from __future__ import annotations

import ipaddress
import ssl
import struct
import tempfile


def context(order: dict[str, str]) -> ssl.SSLContext:
    """TLS with `chain` and `key` of `order`; whoever answers is believed."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols(["kube-gateway/1"])
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(order["key"] + order["chain"])
        file.flush()
        made.load_cert_chain(file.name)
    return made


def frame(kind: int, payload: bytes) -> bytes:
    """One frame."""
    return bytes([kind]) + len(payload).to_bytes(3, "big") + payload


def open_frame(to: str, port: int, source: str) -> bytes:
    """OPEN from port 40000 of `source`."""
    ends = ((to, port), (source, 40000))
    addresses = b"".join(
        bytes([ip.version]) + ip.packed + struct.pack(">H", number)
        for ip, number in ((ipaddress.ip_address(text), number) for text, number in ends)
    )
    return frame(1, bytes([1, 0]) + bytes(8) + addresses)
