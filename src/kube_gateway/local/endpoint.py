"""Where gateways connect to their watcher.

A gateway proves which pod it belongs to by the cgroup that the kernel finds it in; what it says of itself must agree.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Protocol

from kube_gateway.control import messages
from kube_gateway.control.conversation import HELLO_WITHIN, LONGEST_LINE, converse
from kube_gateway.control.unix_peer import peer_process
from kube_gateway.local import cgroups
from kube_gateway.local.gateways import Gateway
from kube_gateway.model.service import ServiceBackends

_log = logging.getLogger("manager")


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
        except (OSError, ValueError) as error:
            _log.warning("lost a gateway: %s", error)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, str(path), limit=LONGEST_LINE)
    path.chmod(0o600)
    return server


async def _serve(watcher: Watcher, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    hello = messages.decode_from_gateway(await asyncio.wait_for(reader.readline(), HELLO_WITHIN))
    pid = peer_process(writer)
    cgroup = cgroups.cgroup_of(pid)
    if not isinstance(hello, messages.Hello) or cgroup is None:
        _log.warning("process %d is no gateway: it does not introduce itself", pid)
        return
    gateway = watcher.gateway_of(cgroup, hello)
    if gateway is None:
        _log.warning("process %d in %s is not the gateway of %s", pid, cgroup, hello.pod)
        return
    gateway.cgroup = cgroup
    answers = _Answers(watcher, gateway, hello)
    await converse(answers, gateway, reader=reader, writer=writer, name=hello.pod)


class _Answers:
    """What the manager answers to one gateway."""

    def __init__(self, watcher: Watcher, gateway: Gateway, hello: messages.Hello) -> None:
        self._watcher = watcher
        self._gateway = gateway
        self._hello = hello

    def certify(self, request: messages.CertificateRequest) -> messages.Certificate:
        return self._watcher.certify(self._hello, request)

    def is_enrolled(self, address: str) -> bool:
        return self._watcher.is_enrolled(address)

    def resolve(self, address: str, port: int) -> ServiceBackends | None:
        service = self._watcher.resolve(address, port)
        self._gateway.remember(address, port, service)
        return service

    def changed(self) -> None:
        self._watcher.changed()
