"""A real HTTP server on loopback for a handler that stands for an API server, and a client for it."""

from __future__ import annotations

import httpx2
import pytest
from aiohttp import web

from kube_gateway.kube.client import KubernetesClient


@pytest.fixture
async def serve():
    """Serve a handler; returns a client for it."""
    runners, clients = [], []

    async def start(handler, **options):
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{runner.addresses[0][1]}", timeout=None, trust_env=False)
        clients.append(KubernetesClient(http, **options))
        return clients[-1]

    yield start
    for client in clients:
        await client.__aexit__()
    for runner in runners:
        await runner.cleanup()
