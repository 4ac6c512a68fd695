"""Texts that travel as a descriptor."""

from __future__ import annotations

import os

import pytest

from kube_gateway.gateway.memory_file import make_memory_file, read_memory_file


@pytest.mark.parametrize("text", ["", "version: 1", "ü" * 100_000])
def test_a_text_is_read_as_often_as_one_likes(text):
    file = make_memory_file(text, name="text")
    copy = os.dup(file)
    assert [read_memory_file(one, most=2**20) for one in (file, copy, file)] == [text] * 3
    os.close(file)
    os.close(copy)


def test_nobody_can_change_it():
    file = make_memory_file("text", name="text")
    for change in (lambda: os.write(file, b"x"), lambda: os.ftruncate(file, 1), lambda: os.pwrite(file, b"x", 0)):
        with pytest.raises(PermissionError):
            change()
    os.close(file)


def test_one_that_is_too_long_is_not_read():
    file = make_memory_file("text", name="text")
    with pytest.raises(ValueError, match="4 bytes is longer than 3"):
        read_memory_file(file, most=3)
    os.close(file)
