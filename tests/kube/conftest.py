"""An API server small enough to do what a real one does rarely: forget, fall silent, cut the line, refuse."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from aiohttp import web

from kube_gateway.kube.client import KubernetesClient
from serving import serve

__all__ = ["serve"]

LEASES = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def status_of(code, reason, message="it is so"):
    return web.json_response({"kind": "Status", "message": message, "reason": reason, "code": code}, status=code)


class FakeCluster:
    """Pods that can be listed and watched, and Leases with optimistic locking."""

    def __init__(self):
        self.version = 100
        self.oldest = 100
        self.objects = {}
        self.history = []
        self.changed = asyncio.Condition()
        self.refusal = None
        self.mute = False
        self.watches = []
        self.lists = 0
        self.requests = []
        self.lease_writes = []
        self._cuts = 0

    async def put(self, name, **labels):
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.version += 1
        self.objects[name] = {
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": str(self.version), "labels": labels}
        }
        await self._tell(kind, self.objects[name])

    async def delete(self, name, *, told=True):
        self.version += 1
        gone = self.objects.pop(name)
        gone = {"metadata": {**gone["metadata"], "resourceVersion": str(self.version)}}
        if told:
            await self._tell("DELETED", gone)

    async def bookmark(self):
        self.version += 1
        await self._tell("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    async def compact(self):
        """Forget the history; watches that stand are told by an event."""
        self.oldest = self.version = self.version + 1
        await self._tell("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})

    async def cut(self):
        """Break the connections of all watches."""
        async with self.changed:
            self._cuts += 1
            self.changed.notify_all()

    async def _tell(self, kind, body):
        async with self.changed:
            self.history.append((self.version, json.dumps({"type": kind, "object": body}).encode() + b"\n"))
            self.changed.notify_all()

    async def handle(self, request):
        self.requests.append(request)
        if self.refusal is not None:
            return status_of(*self.refusal)
        if "/leases" in request.path:
            return await self._lease(request)
        if "watch" in request.query:
            return await self._watch(request)
        self.lists += 1
        return web.json_response(
            {"metadata": {"resourceVersion": str(self.version)}, "items": list(self.objects.values()) or None}
        )

    async def _watch(self, request):
        since = int(request.query["resourceVersion"])
        self.watches.append(since)
        if since < self.oldest:
            return status_of(410, "Expired", "too old resource version")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        cuts = self._cuts
        while True:
            async with self.changed:
                while not (self._cuts > cuts or any(version > since for version, _ in self.history)) or self.mute:
                    await self.changed.wait()
                lines = [line for version, line in self.history if version > since]
                since = max([since, *(version for version, _ in self.history)])
            if self._cuts > cuts:
                request.transport.abort()
                return response
            for line in lines:
                await response.write(line)

    async def _lease(self, request):
        body = await request.json() if request.method in ("POST", "PUT") else None
        name = body["metadata"]["name"] if request.method == "POST" else request.path.rsplit("/", 1)[1]
        key = f"lease {name}"
        known = self.objects.get(key)
        if request.method == "POST" and known:
            return status_of(409, "AlreadyExists")
        if request.method != "POST" and not known:
            return status_of(404, "NotFound")
        if request.method == "GET":
            return web.json_response(known)
        if known and body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
            return status_of(409, "Conflict", "the object has been modified")
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[key] = body
        self.lease_writes.append(body["spec"])
        return web.json_response(body)


@pytest.fixture
async def cluster():
    """The fake cluster, not served yet."""
    return FakeCluster()


@pytest.fixture
async def client(cluster, serve):
    """A client of the fake cluster."""
    return await serve(cluster.handle)


@pytest.fixture
async def mocked(kmock):
    """A client of an API server whose answers the test says."""
    http = httpx2.AsyncClient(base_url=str(kmock.url), trust_env=False)
    async with KubernetesClient(http) as client:
        yield client


@pytest.fixture
def until():
    """Wait for a condition, a short while only."""

    async def wait(condition, seconds=3.0):
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)

    return wait
