"""A watcher's endpoint over real TLS on loopback, its cluster from an API server in memory, and gateways that connect."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.tls import client_context
from kube_gateway.model.pod import Pod
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.endpoint import ControlEndpoint
from watcher.api import Api
from watcher.made import configuration, free_port, pod_body, running, signer, with_gateways

HOUR = datetime.timedelta(hours=1)
WEB = Pod(name="web", uid="uid-web", namespace="shop", service_account="web", addresses=("127.0.0.1",))


def context_of(pod, *, by=None, roots=None, life=HOUR):
    issuer = (by or signer()).issuer
    key, request = _native.create_key_and_request()
    issued = issuer.sign(request, pod=pod, life=life)
    return client_context(chain=issued.chain, key=key, trust_bundle=(roots or signer()).bundle.pem)


class Line:
    """A gateway's end."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def say(self, *said):
        for message in said:
            self.writer.write(message if isinstance(message, bytes) else messages.encode(message))

    async def hear(self):
        async with asyncio.timeout(3):
            line = await self.reader.readline()
        return messages.decode_from_watcher(line) if line else None

    async def ask(self, *said):
        self.say(*said)
        return await self.hear()

    async def is_ended(self):
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return await self.hear() is None
        return True


class Watcher:
    """The endpoint, its cluster, and how to get at it."""

    def __init__(self, **options):
        self.port = free_port()
        self.configuration = configuration(port=self.port, **options)
        self.api = Api()
        for body in (pod_body("web", address="127.0.0.1"), pod_body("other", address="127.0.0.9", encrypt="true")):
            body["metadata"]["uid"] = f"uid-{body['metadata']['name']}"
            self.api.put("pods", with_gateways(body, running()))
        self.api.put("namespaces", {"metadata": {"name": "shop"}})
        self.looks = []
        self.lines = []
        self.endpoint = ControlEndpoint(self.configuration, signer=signer())
        self.cluster = None

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self.endpoint.run())]
        while self.endpoint._server is None:
            await asyncio.sleep(0.001)
            assert not self._tasks[0].done(), self._tasks[0]
        return self

    async def __aexit__(self, *_):
        for line in self.lines:
            line.writer.close()
        self.endpoint.close()
        for task in self._tasks:
            task.cancel()
        done, _ = await asyncio.wait(self._tasks)
        for task in done:
            assert task.cancelled() or task.exception() is None, task.exception()
        for _ in range(200):
            if self.endpoint.lines == 0:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("a line is left")

    def lead(self):
        self.cluster = Cluster(
            self.api.client(),
            self.configuration,
            on_pod=lambda _: None,
            on_services=self.endpoint.services_changed,
            revocations=tuple,
            trust_domain="cluster.local",
        )
        self._tasks.append(asyncio.create_task(self.cluster.run()))
        self.endpoint.lead(self.cluster, self.looks.append)

    async def connect(self, context, *, source=None):
        local = (source, 0) if source else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context, local_addr=local, limit=2**22
        )
        self.lines.append(Line(reader, writer))
        return self.lines[-1]


def hello(pod="shop/web", uid="uid-web", generation=1):
    return messages.Hello(pod=pod, uid=uid, generation=generation, version="0")


QUERY = messages.PeerQuery(address="127.0.0.9")
YES = messages.PeerAnswer(address="127.0.0.9", enrolled=True)


async def until(condition, seconds=3.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
