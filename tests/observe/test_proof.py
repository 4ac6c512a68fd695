from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import CLIENT, SERVER, answer, ethernet, handshake, ipv4, request, write

from kube_gateway.errors import CaptureError
from kube_gateway.observe.pcap import Frame, PcapWriter
from kube_gateway.observe.proof import Sighting, classify, examine
from kube_gateway.observe.streams import Flow, Stream

SECRET = b"5f2c9d7e11aa48b09c3f6d2e7b8a9c01"
HELLO = b"\x16\x03\x01\x00\x05hello"
DATA = b"\x17\x03\x03\x00\x10" + bytes(16)


def _examine(tmp_path: Path, *frames: bytes, dropped: int = 0):
    return examine(write(tmp_path / "x.pcap", frames), markers={"secret": SECRET}, dropped=dropped)


def test_marker_in_one_packet_is_found_with_its_place(tmp_path: Path) -> None:
    evidence = _examine(tmp_path, *handshake(), request(b"GET " + SECRET))
    assert evidence.seen("secret") == (
        Sighting(
            marker="secret",
            time=1_700_000_002,
            source=CLIENT,
            source_port=40000,
            destination=SERVER,
            destination_port=9000,
            server_port=9000,
        ),
    )


def test_marker_cut_between_segments_out_of_order(tmp_path: Path) -> None:
    evidence = _examine(tmp_path, request(SECRET[20:], sequence=1021), request(SECRET[:20], sequence=1001))
    assert [(item.source, item.server_port) for item in evidence.seen("secret")] == [(CLIENT, 9000)]


def test_marker_outside_tcp_is_found_too(tmp_path: Path) -> None:
    evidence = _examine(tmp_path, ethernet(ipv4(b"udp header" + SECRET, protocol=17)))
    assert evidence.seen("secret") == (Sighting(marker="secret", time=1_700_000_000),)
    assert evidence.ports == ()


def test_each_direction_counts(tmp_path: Path) -> None:
    evidence = _examine(tmp_path, *handshake(), request(SECRET), answer(SECRET), answer(SECRET))
    assert [item.source for item in evidence.seen("secret")] == [CLIENT, SERVER]


def test_server_port_by_handshake_then_ours_then_the_lower(tmp_path: Path) -> None:
    by_handshake = _examine(
        tmp_path, *handshake(client_port=1024, port=50000), request(b"x", client_port=1024, port=50000)
    )
    assert [port.port for port in by_handshake.ports] == [50000]
    ours = _examine(tmp_path, request(b"x", client_port=10000, port=18443))
    assert [port.port for port in ours.ports] == [18443]
    lower = _examine(tmp_path, answer(b"x", client_port=40000, port=9000))
    assert [port.port for port in lower.ports] == [9000]


def test_classes_and_bytes_of_ports(tmp_path: Path) -> None:
    evidence = _examine(
        tmp_path,
        *handshake(port=18443),
        request(HELLO, port=18443),
        answer(HELLO + DATA, port=18443),
        *handshake(client_port=40001),
        request(b"plain text", client_port=40001),
        request(b"plain text", client_port=40001),
        *handshake(client_port=40002, port=9080),
        request(SECRET, client_port=40003, port=5555),
    )
    ports = {port.port: (port.traffic, port.payload_bytes, port.connections) for port in evidence.ports}
    assert ports == {
        18443: ("tls", 41, 1),
        9000: ("plain", 10, 1),
        9080: ("empty", 0, 1),
        5555: ("plain", 32, 1),
    }
    assert evidence.payload_bytes == 83


def test_one_plain_connection_makes_the_port_plain(tmp_path: Path) -> None:
    evidence = _examine(tmp_path, request(HELLO, port=18443), request(SECRET, client_port=40001, port=18443))
    assert [port.traffic for port in evidence.ports] == ["plain"]


def test_text_after_a_first_tls_record_is_plain(tmp_path: Path) -> None:
    evidence = _examine(tmp_path, *handshake(), request(HELLO + b"and then in clear " + SECRET))
    assert [port.traffic for port in evidence.ports] == ["plain"]


@given(cut=st.integers(0, 20), rest=st.integers(0, 20))
def test_tls_joined_within_a_record(cut: int, rest: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    stream = (DATA * 5)[cut : len(DATA) * 5 - rest]
    path = write(tmp_path_factory.mktemp("x") / "x.pcap", [request(stream, port=18443)])
    evidence = examine(path, markers={"secret": SECRET})
    assert [port.traffic for port in evidence.ports] == ["tls"]


@given(st.binary(min_size=3, max_size=300).filter(lambda data: data[1:2] != b"\x03"))
def test_other_bytes_from_the_start_are_not_tls(data: bytes) -> None:
    flow = Flow(CLIENT, 40000, SERVER, 9000)
    assert classify(Stream(flow=flow, runs=(data,), time=0, from_start=True)) == "plain"


def test_not_seen_means_nothing_when_packets_are_missing(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r"lacks 3 packets.*secret"):
        _examine(tmp_path, request(b"nothing"), dropped=3)
    assert _examine(tmp_path, request(SECRET), dropped=3).seen("secret")


def test_truncated_frames_count_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcap"
    with path.open("wb") as file:
        PcapWriter(file).write(Frame(time=0, data=request(b"start"), length=2000))
    with pytest.raises(CaptureError, match="lacks 1 packets"):
        examine(path, markers={"secret": SECRET})


def test_an_empty_marker_would_be_found_everywhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty"):
        examine(write(tmp_path / "x.pcap", []), markers={"secret": b""})
