"""Who is at the other end of a unix connection, as the kernel says it (SO_PEERCRED). Source: unix(7)."""

from __future__ import annotations

import asyncio
import socket
import struct

_CREDENTIALS = struct.Struct("3i")


def peer_process(writer: asyncio.StreamWriter) -> int:
    """The id of the process at the other end."""
    return _credentials(writer)[0]


def peer_user(writer: asyncio.StreamWriter) -> int:
    """The user id of the process at the other end."""
    return _credentials(writer)[1]


def _credentials(writer: asyncio.StreamWriter) -> tuple[int, int]:
    connection: socket.socket = writer.get_extra_info("socket")
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, user
