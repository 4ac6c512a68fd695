"""A text in memory that other processes get as a descriptor: what is too long for a message."""

from __future__ import annotations

import fcntl
import os


def make_memory_file(text: str, *, name: str) -> int:
    """Return the descriptor of a file in memory with this text, which nobody can change any more. It is the caller's."""
    file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(text.encode())
        while rest:
            rest = rest[os.write(file, rest) :]
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
    except BaseException:
        os.close(file)
        raise
    return file


def read_memory_file(file: int, *, most: int) -> str:
    """Return the text; the descriptor stays the caller's. Raises `ValueError` for one longer than `most` bytes."""
    size = os.fstat(file).st_size
    if size > most:
        raise ValueError(f"a text of {size} bytes is longer than {most}")
    read = bytearray()
    # From the beginning, whoever else has this file: the place that read() goes on at is everybody's.
    while len(read) < size and (piece := os.pread(file, size - len(read), len(read))):
        read += piece
    return read.decode()
