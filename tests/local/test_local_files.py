"""Files of an instance are whole, and only root's, whenever their writer dies."""

from __future__ import annotations

import os
import stat

import pytest

from kube_gateway.local.files import write_whole


@pytest.mark.parametrize("synced", [False, True], ids=["written", "synced"])
@pytest.mark.parametrize("text", ["größer", "größer".encode()], ids=["text", "bytes"])
def test_a_file_is_replaced_and_its_owners_alone(tmp_path, text, synced):
    path = tmp_path / "pod.json"
    path.write_text("before")
    write_whole(path, text, synced=synced)
    assert path.read_bytes() == "größer".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["pod.json"]


def test_one_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "pod.json"
    path.write_text("before")

    def full(_descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "after", synced=True)
    assert path.read_text() == "before"


def test_what_an_earlier_writer_has_left_half_written_is_in_nobodys_way(tmp_path):
    path = tmp_path / "pod.json"
    (tmp_path / ".pod.json.new").write_text("a longer text than the next one")
    write_whole(path, "{}")
    assert path.read_text() == "{}"
