import struct

from hypothesis import given
from hypothesis import strategies as st
from synthetic import CLIENT, SERVER, ethernet, ipv4, ipv6, tcp

from kube_gateway.observe.packets import ACK, SYN, parse_frame


def test_ipv4_segment_without_ethernet_padding() -> None:
    segment = parse_frame(ethernet(ipv4(tcp(b"hi", sequence=77, options=bytes(12))), padding=6))
    assert segment is not None
    assert (segment.source, segment.source_port) == (CLIENT, 40000)
    assert (segment.destination, segment.destination_port) == (SERVER, 9000)
    assert (segment.sequence, segment.payload, segment.flags) == (77, b"hi", ACK)


def test_starts_connection_is_the_first_syn_only() -> None:
    first, second = (parse_frame(ethernet(ipv4(tcp(flags=flags)))) for flags in (SYN, SYN | ACK))
    assert first is not None and first.starts_connection
    assert second is not None and not second.starts_connection


def test_ipv6_extension_headers_are_skipped() -> None:
    options = bytes([60, 1]) + bytes(14)  # hop-by-hop of 16 bytes, then destination options of 8
    destination = bytes([44, 0]) + bytes(6)
    first_fragment = bytes([6, 0]) + struct.pack("!HI", 1, 99)  # offset 0, more follow
    segment = parse_frame(ethernet(ipv6(options + destination + first_fragment + tcp(b"six"), next_header=0)))
    assert segment is not None
    assert (segment.source, segment.destination, segment.payload) == ("fd89::2", "fd89::3", b"six")


def test_authentication_header_counts_in_words_of_four_bytes() -> None:
    header = bytes([6, 4]) + bytes(22)
    segment = parse_frame(ethernet(ipv6(header + tcp(b"ah"), next_header=51)))
    assert segment is not None and segment.payload == b"ah"


def test_uncut_packets_whose_length_field_cannot_hold_the_length() -> None:
    payload = bytes(range(256)) * 300
    for packet in (ipv4(tcp(payload)), ipv6(tcp(payload))):
        segment = parse_frame(ethernet(packet))
        assert segment is not None and segment.payload == payload


def test_vlan_tags_are_skipped() -> None:
    frame = ethernet(ipv4(tcp(b"tagged")))
    tagged = frame[:12] + struct.pack("!HHHH", 0x88A8, 1, 0x8100, 2) + frame[12:]
    segment = parse_frame(tagged)
    assert segment is not None and segment.payload == b"tagged"


def test_what_is_not_a_whole_segment_is_none() -> None:
    whole = ethernet(ipv4(tcp(b"payload")))
    assert parse_frame(b"") is None
    assert all(parse_frame(whole[:length]) is None for length in range(len(whole)))
    assert parse_frame(ethernet(ipv4(bytes(30), protocol=17))) is None
    assert parse_frame(ethernet(ipv4(tcp(b"later"), fragment=100))) is None
    assert parse_frame(ethernet(ipv6(bytes([6, 0]) + struct.pack("!HI", 100 << 3, 1) + tcp(), next_header=44))) is None
    assert parse_frame(ethernet(ipv6(bytes([0, 255]) * 4 + tcp(), next_header=0))) is None


@given(st.binary(max_size=200), st.sampled_from(["raw", "ipv4", "ipv6", "tcp"]))
def test_garbage_never_raises(garbage: bytes, layer: str) -> None:
    wrap = {
        "raw": lambda data: data,
        "ipv4": lambda data: bytes(12) + b"\x08\x00" + data,
        "ipv6": lambda data: ethernet(ipv6(data, next_header=data[0] if data else 0)),
        "tcp": lambda data: ethernet(ipv4(data)),
    }
    parse_frame(wrap[layer](garbage))
