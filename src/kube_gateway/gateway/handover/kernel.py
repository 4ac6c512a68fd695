"""Who is at the other end of a unix socket, and which abstract names there are, as the kernel tells it.

Credentials of the other end (SO_PEERCRED) say nothing between containers: each has process ids and users of its own. The
kernel's cookie of a socket is one number in the whole machine, and sock_diag tells that of the other end.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_SO_COOKIE = 57
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_UDIAG_SHOW_PEER = 4
_UNIX_DIAG_PEER = 2
_ANY_COOKIE = 2**64 - 1
_ALL_STATES = 2**32 - 1

# __SO_ACCEPTCON, and SOCK_SEQPACKET.
_LISTENING_FOR_PACKETS = (b"00010000", b"0005")

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIQ")
_MESSAGE = struct.Struct("=BBBBIQ")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_ERROR = struct.Struct("=i")


def own_cookie(connection: socket.socket) -> int:
    """The kernel's cookie of this socket (SO_COOKIE, socket(7))."""
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), "little")


def cookie_of_peer(connection: socket.socket) -> int:
    """The cookie of the socket that this unix socket is connected to; 0 if there is none.

    Raises `OSError` where the kernel cannot tell (it lacks CONFIG_UNIX_DIAG). Source: sock_diag(7).
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        _, peer = _look(kernel, os.fstat(connection.fileno()).st_ino)
        return _look(kernel, peer)[0] if peer else 0


def abstract_names(prefix: bytes) -> list[bytes]:
    """Names of abstract sockets of this network namespace that listen for packets and begin with `prefix`.

    Each begins with the zero byte that connect(2) wants. Source: proc(5), /proc/net/unix.
    """
    found = set()
    for line in Path("/proc/self/net/unix").read_bytes().splitlines()[1:]:
        fields, _, name = line.partition(b" @")
        _, _, _, flags, kind, *_ = fields.split()
        if name.startswith(prefix) and (flags, kind) == _LISTENING_FOR_PACKETS:
            found.add(b"\0" + name)
    return sorted(found)


def _look(kernel: socket.socket, inode: int) -> tuple[int, int]:
    """Cookie of the unix socket with this inode number, and the inode number of its peer or 0."""
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ALL_STATES, inode, _UDIAG_SHOW_PEER, _ANY_COOKIE)
    size = _HEADER.size + len(request)
    kernel.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0) + request)
    answer = kernel.recv(4096)
    length, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        number = -_ERROR.unpack_from(answer, _HEADER.size)[0]
        raise OSError(number, f"the kernel does not tell about unix sockets: {os.strerror(number)}")
    *_, cookie = _MESSAGE.unpack_from(answer, _HEADER.size)
    at = _HEADER.size + _MESSAGE.size
    while at + _ATTRIBUTE.size <= length:
        size, attribute = _ATTRIBUTE.unpack_from(answer, at)
        if attribute == _UNIX_DIAG_PEER:
            return cookie, _NUMBER.unpack_from(answer, at + _ATTRIBUTE.size)[0]
        at += max((size + 3) & ~3, _ATTRIBUTE.size)
    return cookie, 0
