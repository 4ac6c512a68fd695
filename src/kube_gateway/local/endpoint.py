"""Where gateways connect to their watcher.

A gateway proves which pod it belongs to by the cgroup that the kernel finds it in; what it says of itself must agree.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from pathlib import Path
from typing import Protocol

from kube_gateway.control import messages
from kube_gateway.errors import IdentityError
from kube_gateway.local import cgroups
from kube_gateway.local.gateways import Gateway
from kube_gateway.model.service import ServiceBackends

_log = logging.getLogger("manager")

_HELLO_WITHIN = 5.0
_LONGEST_LINE = 1024 * 1024
_CREDENTIALS = struct.Struct("3i")


class Watcher(Protocol):
    """What the endpoint needs of the manager."""

    def gateway_of(self, cgroup: Path, hello: messages.Hello) -> Gateway | None:
        """The gateway that lives in this cgroup and introduces itself so; None if there is none."""

    def certify(self, hello: messages.Hello, request: messages.CertificateRequest) -> messages.Certificate:
        """Sign a request for that pod. Raises `IdentityError`."""

    def is_enrolled(self, address: str) -> bool:
        """Whether the workload at `address` encrypts."""

    def resolve(self, address: str, port: int) -> ServiceBackends | None:
        """What serves TCP `port` of `address`; None when it is no Service's."""

    def changed(self) -> None:
        """Something is to be decided anew."""


async def serve_gateways(watcher: Watcher, path: Path) -> asyncio.Server:
    """Listen on `path`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(watcher, reader, writer)
        except (OSError, ValueError, TimeoutError) as error:
            _log.warning("lost a gateway: %s", error)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(path), limit=_LONGEST_LINE)
    path.chmod(0o600)
    return server


async def _serve(watcher: Watcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    hello = messages.decode_from_gateway(await asyncio.wait_for(reader.readline(), _HELLO_WITHIN))
    pid = peer_process(writer)
    cgroup = cgroups.cgroup_of(pid)
    if not isinstance(hello, messages.Hello) or cgroup is None:
        _log.warning("process %d is no gateway: it does not introduce itself", pid)
        return
    gateway = watcher.gateway_of(cgroup, hello)
    if gateway is None:
        _log.warning("process %d in %s is not the gateway of %s", pid, cgroup, hello.pod)
        return
    gateway.connected(writer, cgroup)
    watcher.changed()
    try:
        while line := await reader.readline():
            message = messages.decode_from_gateway(line)
            match message:
                case messages.Report():
                    if gateway.reported(message) or message.clear_connections:
                        watcher.changed()
                case messages.CertificateRequest():
                    try:
                        gateway.send(watcher.certify(hello, message))
                    except IdentityError as error:
                        _log.error("no certificate for %s: %s", hello.pod, error.message)
                case messages.PeerQuery():
                    answer = messages.PeerAnswer(address=message.address, enrolled=watcher.is_enrolled(message.address))
                    gateway.send(answer)
                case messages.ServiceQuery():
                    gateway.answer(message.address, message.port, watcher.resolve(message.address, message.port))
            await writer.drain()
    finally:
        gateway.disconnected(writer)


def peer_process(writer: asyncio.StreamWriter) -> int:
    """The process at the other end of a unix connection (SO_PEERCRED, unix(7))."""
    return _credentials(writer)[0]


def peer_user(writer: asyncio.StreamWriter) -> int:
    """The user id of the process at the other end of a unix connection."""
    return _credentials(writer)[1]


def _credentials(writer: asyncio.StreamWriter) -> tuple[int, int]:
    connection: socket.socket = writer.get_extra_info("socket")
    pid, user, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return pid, user
