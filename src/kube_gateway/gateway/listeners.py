"""The gateway's listening sockets. They belong to the supervisor, so that connections wait for a worker that restarts."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import time
from collections.abc import Iterable, Mapping

from kube_gateway.errors import EnvironmentProblem
from kube_gateway.model.ports import PLAIN_TUNNEL_PORT, REDIRECT_PORT, RESERVED_PORTS, TLS_TUNNEL_PORT

_BACKLOG = 4096
_KNOWN_AFTER = 0.75
"""Seconds; a peer that was refused remembers that for 0.25 from when it hears of it, and what it says in clear by then has
to arrive as well (native/src/flow/peers.rs)."""

_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_TUNNEL_PORT = {"tls": TLS_TUNNEL_PORT, "plain": PLAIN_TUNNEL_PORT}


class Listeners:
    """Open listeners by kind: `redirect`, `tls`, `plain`. `inherited` are those of an earlier gateway."""

    def __init__(
        self, addresses: Iterable[str], *, inherited: Mapping[str, tuple[socket.socket, ...]] | None = None
    ) -> None:
        self._addresses = tuple(addresses)
        self._open: dict[str, tuple[socket.socket, ...]] = dict(inherited or {})
        self._opened: dict[str, float] = {}

    def open(self, kind: str) -> tuple[socket.socket, ...]:
        """Return the listeners of `kind`, opening them if need be: all of them or none.

        Raises `EnvironmentProblem` when another process of the pod has the port.
        """
        if kind not in self._open:
            opened: list[socket.socket] = []
            try:
                for family, address, port in self._wanted(kind):
                    opened.append(_listen(family, address, port))
            except BaseException:
                for listener in opened:
                    listener.close()
                raise
            self._open[kind] = tuple(opened)
            self._opened[kind] = time.monotonic()
        return self._open[kind]

    def get(self, kind: str) -> tuple[socket.socket, ...]:
        """The open listeners of `kind`, perhaps none."""
        return self._open.get(kind, ())

    async def known(self, kind: str) -> None:
        """Wait until no peer takes these ports for closed any more. Those of an earlier gateway were open before."""
        opened = self._opened.get(kind)
        if opened is not None:
            await asyncio.sleep(opened + _KNOWN_AFTER - time.monotonic())

    def descriptors(self) -> dict[str, tuple[int, ...]]:
        """All open listeners by kind."""
        return {kind: tuple(listener.fileno() for listener in found) for kind, found in self._open.items()}

    def kinds(self) -> tuple[str, ...]:
        """Which kinds are open."""
        return tuple(self._open)

    def close(self, kind: str) -> None:
        """Close the listeners of `kind`."""
        for listener in self._open.pop(kind, ()):
            listener.close()

    def _wanted(self, kind: str) -> list[tuple[socket.AddressFamily, str, int]]:
        if kind == "redirect":
            families = dict.fromkeys(_family(address) for address in self._addresses)
            return [(family, _LOOPBACK[family], REDIRECT_PORT) for family in families]
        return [(_family(address), address, _TUNNEL_PORT[kind]) for address in self._addresses]


def redirect_port_is_taken(addresses: Iterable[str]) -> bool:
    """Whether some process of the pod, which has these addresses, listens where a gateway takes redirected connections.

    Raises `EnvironmentProblem` when that cannot be found out.
    """
    for family in {_family(address) for address in addresses}:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as asked:
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            address = _LOOPBACK[family]
            try:
                asked.bind((address, REDIRECT_PORT))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return True
                # An address that is not there has no listener either.
                if error.errno != errno.EADDRNOTAVAIL:
                    raise EnvironmentProblem(
                        f"cannot ask for {address} port {REDIRECT_PORT}: {error.strerror}"
                    ) from error
    return False


def listen_on(address: str, port: int, *, shared: bool) -> socket.socket:
    """Open a listener on an address of the pod. `shared`: another process may have the port too, if it wants to share it.

    Raises `EnvironmentProblem` when another process of the pod has the port for itself.
    """
    return _listen(_family(address), address, port, shared=shared)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6


def _listen(family: socket.AddressFamily, address: str, port: int, *, shared: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A connection of an earlier gateway that lingers in TIME_WAIT must not keep this one from starting.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise EnvironmentProblem(
                f"port {port} on {address} is taken by another process of the pod",
                hint=_taken_hint(port),
            ) from None
        raise EnvironmentProblem(f"cannot listen on {address} port {port}: {error.strerror}") from error
    return listener


def _taken_hint(port: int) -> str:
    if port in RESERVED_PORTS:
        ports = f"ports {REDIRECT_PORT}, {PLAIN_TUNNEL_PORT} and {TLS_TUNNEL_PORT} belong to the gateway"
        return f"{ports}: move the application to another port"
    return "name another one in the annotation"
