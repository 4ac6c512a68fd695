import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_gateway.errors import CaptureError
from kube_gateway.observe.pcap import Frame, PcapWriter, read_pcap

TIME = 1_700_000_000_123_456_789


def _write(path: Path, *frames: Frame, nanoseconds: bool = True) -> Path:
    with path.open("wb") as file:
        writer = PcapWriter(file, nanoseconds=nanoseconds)
        for frame in frames:
            writer.write(frame)
    return path


@given(frames=st.lists(st.tuples(st.integers(0, 2**32 * 10**9 - 1), st.binary(max_size=100), st.integers(0, 70000))))
def test_what_is_written_is_read(
    frames: list[tuple[int, bytes, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = [Frame(time=time, data=data, length=len(data) + more) for time, data, more in frames]
    path = tmp_path_factory.mktemp("pcap") / "a.pcap"
    assert list(read_pcap(_write(path, *values))) == values


def test_microseconds_lose_only_the_last_digits(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.pcap", Frame(time=TIME, data=b"x", length=1), nanoseconds=False)
    assert [frame.time for frame in read_pcap(path)] == [TIME // 1000 * 1000]


def test_gso_frame_of_64_kib(tmp_path: Path) -> None:
    frame = Frame(time=TIME, data=bytes(65549), length=65549)
    assert list(read_pcap(_write(tmp_path / "a.pcap", frame))) == [frame]
    assert not frame.truncated
    assert Frame(time=0, data=b"abc", length=4).truncated


def test_other_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "big.pcap"
    path.write_bytes(
        struct.pack(">IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + struct.pack(">IIII", 5, 6, 1, 9) + b"z"
    )
    assert list(read_pcap(path)) == [Frame(time=5_000_006_000, data=b"z", length=9)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a pcap file"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "not a pcap file"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101), "link type 101"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"short", "ends within a record"),
        (struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1, 0, 0, 9, 9) + b"short", "ends within a frame"),
        (struct.pack("<IHHiIIIIIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1, 0, 0, 1 << 30, 9), "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=words):
        list(read_pcap(path))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be read: No such file"):
        list(read_pcap(tmp_path / "none.pcap"))
