"""Figures of all pods, as Prometheus reads them of the watcher."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kube_gateway.watcher.figures import page, serve_figures
from kube_gateway.watcher.summary import PodSummary
from watcher.made import free_port

PODS = (
    PodSummary(key="shop/new", uid="2", generation=0, state="none"),
    PodSummary(
        key="shop/web",
        uid="1",
        generation=3,
        state="ready",
        version="0.1.0",
        mode="strict",
        certificate_expires=5000.0,
        clear_connections=2,
        sent={"tunnel": 900, "plain": 7},
        refused_in_clear=4,
    ),
)
PAGE = """\
# HELP kube_gateway_sent_bytes_total Payload that left the pod, by kind.
# TYPE kube_gateway_sent_bytes_total counter
kube_gateway_sent_bytes_total{namespace="shop",pod="web",kind="tunnel"} 900
kube_gateway_sent_bytes_total{namespace="shop",pod="web",kind="plain"} 7
# HELP kube_gateway_plaintext_bytes_total Payload of TCP connections that left the pod readable for anybody on the wire.
# TYPE kube_gateway_plaintext_bytes_total counter
kube_gateway_plaintext_bytes_total{namespace="shop",pod="web"} 7
# HELP kube_gateway_refused_in_clear_total Connections that were refused because they were in clear.
# TYPE kube_gateway_refused_in_clear_total counter
kube_gateway_refused_in_clear_total{namespace="shop",pod="web"} 4
# HELP kube_gateway_connections_in_clear TCP connections that stand in clear.
# TYPE kube_gateway_connections_in_clear gauge
kube_gateway_connections_in_clear{namespace="shop",pod="web"} 2
# HELP kube_gateway_certificate_expiry_seconds When the pod's certificate ends.
# TYPE kube_gateway_certificate_expiry_seconds gauge
kube_gateway_certificate_expiry_seconds{namespace="shop",pod="web"} 5000
# HELP kube_gateway_info The pod's gateway.
# TYPE kube_gateway_info gauge
kube_gateway_info{namespace="shop",pod="new",encryption="",state="none"} 1
kube_gateway_info{namespace="shop",pod="web",encryption="strict",state="ready"} 1
"""


def test_the_whole_page():
    assert page(PODS).decode() == PAGE


def test_every_pod_of_a_large_cluster_is_named():
    pods = [PodSummary(key=f"shop/{n}", uid=str(n), generation=1, state="ready", version="0") for n in range(3000)]
    assert page(pods).count(b"kube_gateway_connections_in_clear{") == 3000


@contextlib.asynccontextmanager
async def served():
    port = free_port()

    async def pods():
        return PODS

    task = asyncio.create_task(serve_figures(pods, port=port))
    await asyncio.sleep(0.05)
    try:
        yield port
    finally:
        task.cancel()
        await asyncio.wait([task])


async def ask(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    async with asyncio.timeout(3):
        answer = await reader.read()
    writer.close()
    return answer


async def test_it_is_served():
    async with served() as port:
        answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert body.decode() == PAGE


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n", b"x\r\n\r\n"])
async def test_nothing_else_is(request_):
    async with served() as port:
        assert (await ask(port, request_)).startswith(b"HTTP/1.1 404 Not Found\r\n")


async def test_a_head_without_an_end_ends_nothing():
    async with served() as port:
        assert await ask(port, b"GET /metrics HTTP/1.1\r\n" + b"x" * 100_000) == b""
        assert b"200 OK" in await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")


async def test_a_flood_of_silent_connections_keeps_nobody_out():
    async with served() as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        assert b"200 OK" in await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        for _, writer in silent:
            writer.close()
