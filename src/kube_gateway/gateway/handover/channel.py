"""Mutual TLS over the packets of a unix socket, and descriptors beside them.

An abstract unix socket is anybody's in the pod's network namespace, so nothing that comes through it is believed before
TLS has shown who is at the other end. TLS does not cover descriptors: they are taken only beside a packet for which they
are expected, and given only to a partner that `partner.check_direct` has found at the other end itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from types import TracebackType

from kube_gateway.errors import HandoverError
from kube_gateway.gateway.handover import messages

_PACKET = 256 * 1024
_RECORD = 16 * 1024
_DESCRIPTOR = struct.Struct("i")
MOST_DESCRIPTORS = 64


class Channel:
    """One connection to another gateway of the pod. It owns `connection`; closes it at the end of a `with` block."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, *, server: bool) -> None:
        self._connection = connection
        connection.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    @property
    def connection(self) -> socket.socket:
        """The socket, for questions to the kernel about it."""
        return self._connection

    async def handshake(self) -> None:
        """Prove who we are and have the other side prove it. Raises `OSError` (TLS errors are such)."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush(())
                self._incoming.write((await self._packet(0))[0])
            except ssl.SSLError:
                # The other side is told why.
                await self._flush(())
                raise
            else:
                return await self._flush(())

    async def send(self, message: messages.Message, descriptors: tuple[int, ...] = ()) -> None:
        """Say something. The other side gets copies of the descriptors. Raises `OSError`."""
        self.tls.write(messages.encode(message))
        await self._flush(descriptors)

    async def receive(self, *, descriptors: int = 0) -> tuple[messages.Message, list[int]]:
        """The next message and the descriptors beside it, at most so many; they are the caller's.

        Raises `OSError`, or `HandoverError` for what is no message.
        """
        text, taken = b"", list[int]()
        try:
            while not text.endswith(b"\n"):
                try:
                    piece = self.tls.read(_RECORD)
                except ssl.SSLWantReadError:
                    packet, more = await self._packet(descriptors)
                    taken += more
                    self._incoming.write(packet)
                    continue
                if not piece or len(text) + len(piece) > _PACKET:
                    raise HandoverError("the other gateway ended the connection in the middle of a message")
                text += piece
            try:
                return messages.decode(text), taken
            except ValueError as error:
                raise HandoverError(f"the other gateway says what this version does not understand: {error}") from None
        except BaseException:
            close_all(taken)
            raise

    async def _flush(self, descriptors: tuple[int, ...]) -> None:
        packet = self._outgoing.read()
        while packet:
            try:
                socket.send_fds(self._connection, [packet], descriptors)
            except BlockingIOError:
                await self._wait(writing=True)
            else:
                return

    async def _packet(self, descriptors: int) -> tuple[bytes, list[int]]:
        room = socket.CMSG_LEN(descriptors * _DESCRIPTOR.size) if descriptors else 0
        while True:
            try:
                # Not recv_fds(): it does not pass flags on, and descriptors would be inherited.
                packet, beside, flags, _ = self._connection.recvmsg(_PACKET, room, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._wait(writing=False)
                continue
            taken = [number for level, kind, data in beside for number in _descriptors(level, kind, data)]
            if packet and not flags & (socket.MSG_TRUNC | (socket.MSG_CTRUNC if descriptors else 0)):
                return packet, taken
            close_all(taken)
            if packet:
                raise HandoverError("the other side sent more than it may")
            raise ConnectionResetError("the other side closed the connection")

    async def _wait(self, *, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
        descriptor = self._connection.fileno()
        add(descriptor, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            remove(descriptor)


def _descriptors(level: int, kind: int, data: bytes) -> list[int]:
    if (level, kind) != (socket.SOL_SOCKET, socket.SCM_RIGHTS):
        return []
    whole = len(data) - len(data) % _DESCRIPTOR.size
    return [number for (number,) in _DESCRIPTOR.iter_unpack(data[:whole])]


def close_all(descriptors: list[int]) -> None:
    """Close descriptors that nobody wants."""
    for descriptor in descriptors:
        os.close(descriptor)
