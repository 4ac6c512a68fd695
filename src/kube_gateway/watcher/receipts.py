"""Where somebody in the watcher's container asks for a receipt of what a pod has sent.

The way there is `kubectl exec`, so Kubernetes has checked who it is; there is no further port and no further credential.
The watcher only hands on: the receipt is the gateway's word, signed by it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket

import msgspec

from kube_gateway.control.unix_peer import peer_user
from kube_gateway.errors import KubeGatewayError
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.summary import serving

_log = logging.getLogger("watcher")

_LONGEST = 4 * 1024 * 1024
_ASKED_WITHIN = 5.0
_ANSWERED_WITHIN = 15.0


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`pod` is `namespace/name`; the period is as in `ReceiptQuery`."""

    pod: str
    since: float
    until: float


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed receipt, or why there is none and what to do."""

    receipt: str = ""
    problem: str = ""
    hint: str = ""


class ReceiptDesk:
    """Of the watcher's pod `name`. Answers while it `leads` a cluster."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._cluster: Cluster | None = None
        self._leader = ""

    async def run(self) -> None:
        """Listen until cancelled. That it cannot is no reason not to watch."""
        try:
            server = await asyncio.start_unix_server(self._serve, _place(self._name), limit=_LONGEST)
        except OSError as error:
            _log.warning("nobody can ask for receipts here: %s", error.strerror)
            return
        async with server:
            await server.serve_forever()

    def lead(self, cluster: Cluster) -> None:
        """Answer for `cluster` from now on."""
        self._cluster = cluster

    def stand_by(self) -> None:
        """Say who leads instead."""
        self._cluster = None

    def leader_is(self, name: str) -> None:
        """The pod of the watcher that leads; empty if nobody does."""
        self._leader = name

    async def answer(self, wanted: Wanted) -> Given:
        """What is answered."""
        if self._cluster is None:
            return Given(problem="this watcher stands by", hint=f"ask the one that leads: {self._leader or 'none yet'}")
        seen = self._cluster.pod(wanted.pod)
        if seen is None:
            return Given(problem=f"there is no pod {wanted.pod}", hint="name it as NAMESPACE/NAME")
        lines = self._cluster.memory(wanted.pod).lines
        line = lines.get(serving(seen, lines))
        if line is None:
            return Given(
                problem=f"{wanted.pod} has no gateway that could sign a receipt",
                hint=f"kube-gateway status {wanted.pod.partition('/')[2]}",
            )
        said = await line.receipt(since=wanted.since, until=wanted.until)
        problem = f"{wanted.pod} has no receipt for that period: {said.problem}" if said.problem else ""
        return Given(receipt=said.receipt, problem=problem)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # An abstract name is anybody's in the network namespace.
            if peer_user(writer) != os.geteuid():
                _log.warning("another user asks for receipts, and is not answered")
                return
            async with asyncio.timeout(_ASKED_WITHIN):
                wanted = msgspec.json.decode(await reader.readline(), type=Wanted)
            writer.write(msgspec.json.encode(await self.answer(wanted)) + b"\n")
            await writer.drain()
        except (OSError, ValueError) as error:
            _log.debug("lost one who asks for a receipt: %s", error)
        finally:
            writer.close()


def ask(name: str, wanted: Wanted) -> str:
    """Ask the watcher `name`, in whose container this is, and return the receipt. Raises `KubeGatewayError`."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWERED_WITHIN)
        try:
            connection.connect(_place(name))
            connection.sendall(msgspec.json.encode(wanted) + b"\n")
            with connection.makefile("rb") as answer:
                given = msgspec.json.decode(answer.readline(), type=Given)
        except (OSError, msgspec.DecodeError) as error:
            raise KubeGatewayError(
                f"there is no watcher here that could be asked for a receipt ({getattr(error, 'strerror', '') or error})",
                hint="kubectl exec -n kube-gateway deploy/kube-gateway-watcher -- kube-gateway verify NAMESPACE/POD "
                "--receipt --watcher",
            ) from None
    if given.problem:
        raise KubeGatewayError(given.problem, hint=given.hint or None)
    return given.receipt


def _place(name: str) -> str:
    return f"\0kube-gateway-receipts-{name}"
