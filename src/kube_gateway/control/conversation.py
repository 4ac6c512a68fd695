"""What a watcher answers to a gateway that has proved who it is; the same in a cluster and on one machine."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from kube_gateway.control import messages
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.errors import IdentityError
from kube_gateway.model.service import ServiceBackends

_log = logging.getLogger("watcher")

HELLO_WITHIN = 5.0
SILENT_AFTER = 30.0
"""Seconds without a word after which a line has ended: gateways report each second, and a node that fell ends no line."""

HEARTBEAT_EVERY = 5.0
"""Seconds; a watcher that hangs, or whose node fell, ends no line either, and another may lead by then."""

WATCHER_SILENT_AFTER = 3 * HEARTBEAT_EVERY
"""Seconds without a word after which a gateway looks for another watcher."""

LONGEST_LINE = 1024 * 1024
"""Bytes; a report has at most 400 peers and 1000 connections."""


class Answers(Protocol):
    """What the watcher knows, for one gateway."""

    def certify(self, request: messages.CertificateRequest) -> messages.Certificate:
        """Sign a request for the gateway's pod. Raises `IdentityError`."""

    def is_enrolled(self, address: str) -> bool:
        """Whether the workload at `address` encrypts."""

    def resolve(self, address: str, port: int) -> ServiceBackends | None:
        """What is behind an address, and from now on each change of it; None if it is no Service's."""

    def changed(self) -> None:
        """Something is to be decided anew."""


async def converse(
    answers: Answers,
    gateway: ConnectedGateway,
    *,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    name: str,
) -> None:
    """Serve one line until it ends; `name` is for the log. Raises `OSError`, and `ValueError` for what is no message."""
    gateway.connected(writer)
    answers.changed()
    heartbeat = asyncio.create_task(_beat(gateway))
    try:
        while line := await _next_line(reader):
            _answer(answers, gateway, messages.decode_from_gateway(line), name=name)
            await writer.drain()
    finally:
        heartbeat.cancel()
        gateway.disconnected(writer)
        answers.changed()


async def _beat(gateway: ConnectedGateway) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_EVERY)
        gateway.send(messages.Heartbeat())


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(SILENT_AFTER):
        return await reader.readline()


def _answer(answers: Answers, gateway: ConnectedGateway, message: messages.FromGateway, *, name: str) -> None:
    match message:
        case messages.Report():
            if gateway.reported(message) or message.clear_connections:
                answers.changed()
        case messages.Receipt():
            gateway.signed(message)
        case messages.CertificateRequest():
            try:
                gateway.certify(answers.certify(message))
            except IdentityError as error:
                _log.error("no certificate for %s: %s", name, error.message)
        case messages.PeerQuery():
            gateway.send(messages.PeerAnswer(address=message.address, enrolled=answers.is_enrolled(message.address)))
        case messages.ServiceQuery():
            service = answers.resolve(message.address, message.port)
            gateway.send(messages.ServiceAnswer(address=message.address, port=message.port, service=service))
