"""Figures of all pods for Prometheus, where the watcher is told a port: as each gateway has reported last.

Whoever reaches the port may read them, and so learns the names of pods; to whom these speak is not in them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Literal

from kube_gateway.model.exposition import CONTENT_TYPE, Family, exposition
from kube_gateway.watcher.summary import PodSummary

_log = logging.getLogger("watcher")

_LONGEST_HEAD = 8 * 1024
_WITHIN = 5.0
_AT_ONCE = 64


def page(pods: Iterable[PodSummary]) -> bytes:
    """What Prometheus reads. Of a pod whose gateway has said nothing there is only its state."""
    every = {pod.key.partition("/")[::2]: pod for pod in pods}
    said = {name: pod for name, pod in every.items() if pod.version}
    counting = {name: pod for name, pod in said.items() if pod.sent}
    families = (
        _family(
            "kube_gateway_sent_bytes_total",
            "Payload that left the pod, by kind.",
            {(*name, kind): count for name, pod in counting.items() for kind, count in pod.sent.items()},
            labels=("kind",),
            kind="counter",
        ),
        _family(
            "kube_gateway_plaintext_bytes_total",
            "Payload of TCP connections that left the pod readable for anybody on the wire.",
            {name: pod.sent.get("plain", 0) for name, pod in counting.items()},
            kind="counter",
        ),
        _family(
            "kube_gateway_refused_in_clear_total",
            "Connections that were refused because they were in clear.",
            {name: pod.refused_in_clear for name, pod in said.items()},
            kind="counter",
        ),
        _family(
            "kube_gateway_connections_in_clear",
            "TCP connections that stand in clear.",
            {name: pod.clear_connections for name, pod in said.items()},
        ),
        _family(
            "kube_gateway_certificate_expiry_seconds",
            "When the pod's certificate ends.",
            {name: pod.certificate_expires for name, pod in said.items()},
        ),
        _family(
            "kube_gateway_info",
            "The pod's gateway.",
            {(*name, pod.mode, pod.state): 1 for name, pod in every.items()},
            labels=("encryption", "state"),
        ),
    )
    return exposition(families)


def _family(
    name: str,
    about: str,
    values: Mapping[tuple[str, ...], float],
    *,
    labels: tuple[str, ...] = (),
    kind: Literal["counter", "gauge"] = "gauge",
) -> Family:
    family = Family(name, about, kind=kind, labels=("namespace", "pod", *labels))
    family.set_all(values.items())
    return family


async def serve_figures(pods: Callable[[], Awaitable[Iterable[PodSummary]]], *, port: int) -> None:
    """Answer GET /metrics on all addresses until cancelled. Raises `OSError` when the port is taken."""

    busy: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(busy) >= _AT_ONCE:
            # By chance: whoever floods us must not be able to tell which place is safe.
            random.choice(tuple(busy)).transport.abort()  # noqa: S311 - no secret
        busy.add(writer)
        try:
            async with asyncio.timeout(_WITHIN):
                line = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0]
                wanted = line.split(b" ")[:2] == [b"GET", b"/metrics"]
                status, body = ("200 OK", page(await pods())) if wanted else ("404 Not Found", b"GET /metrics\n")
                head = f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            _log.debug("lost one who asks for figures: %s", error)
        finally:
            busy.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, port=port, limit=_LONGEST_HEAD)
    async with server:
        await server.serve_forever()
