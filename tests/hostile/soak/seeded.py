"""A byte stream that is known at every offset and never repeats, so that whoever receives it sees what is wrong with it.

A piece that was lost, came twice, or came before another is a wrong byte at the offset where it happened.
"""

from __future__ import annotations

import hashlib

_BLOCK = 8192


class Seeded:
    """The stream of `name`, piece by piece."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._number = 0
        self._rest = b""
        self.offset = 0

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        pieces, missing = [self._rest], length - len(self._rest)
        while missing > 0:
            pieces.append(hashlib.shake_128(self._name + b"/%d" % self._number).digest(_BLOCK))
            self._number += 1
            missing -= _BLOCK
        whole = b"".join(pieces)
        self._rest = whole[length:]
        self.offset += length
        return whole[:length]

    def first_wrong(self, received: bytes) -> int | None:
        """Compare what came next with what should have; the offset of the first byte that is wrong."""
        begin = self.offset
        expected = self.take(len(received))
        if received == expected:
            return None
        return begin + next(index for index, byte in enumerate(received) if byte != expected[index])
