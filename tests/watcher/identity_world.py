"""A watcher with its roots in the API, and gateways that are the product's own but for the worker, over real TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.whereabouts import Whereabouts
from kube_gateway.gateway import worker_messages
from kube_gateway.gateway.certificate import CertificateKeeper, Identity
from kube_gateway.gateway.identity_use import IdentityUse
from kube_gateway.gateway.watcher_connection import WatcherConnection
from kube_gateway.gateway.watcher_link import WatcherLink
from kube_gateway.identity.roots import Roots
from kube_gateway.kube.lease import LeaderElection
from kube_gateway.model.flow import GatewaySnapshot
from kube_gateway.model.pod import Pod
from kube_gateway.watcher import identities as identities_module
from kube_gateway.watcher import run as run_module
from kube_gateway.watcher.acting import watcher_id
from kube_gateway.watcher.authority import Signer
from kube_gateway.watcher.authority_data import written
from kube_gateway.watcher.run import Watcher
from watcher.api import Api
from watcher.made import configuration, free_port, pod_body, running, with_gateways
from watcher.simulated import hurry as hurry_watcher

SECRET = "kube-gateway/watcher"


class QuickElection(LeaderElection):
    """Leads at once when the last one has let go, and keeps the lead however busy the machine is."""

    def __init__(self, *args, **options):
        super().__init__(*args, **{**options, "duration": 12.0, "renew_deadline": 8.0, "retry": 0.05})


def hurry(monkeypatch):
    hurry_watcher(monkeypatch)
    monkeypatch.setattr(run_module, "LeaderElection", QuickElection)
    monkeypatch.setattr(identities_module, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(identities_module, "STEP_AT_LEAST", 0.2)
    monkeypatch.setattr(identities_module, "_TEND_EVERY", 0.02)


class World:
    """One watcher at a time, and gateways of pods on 127.0.0.x.

    `trust_domain` is what the watcher is told, for a root that names none.
    """

    def __init__(self, authority, *, trust_domain=None):
        self.api = Api()
        self.api.put("namespaces", {"metadata": {"name": "shop"}})
        data = {
            key: base64.b64encode(value.encode()).decode()
            for key, value in written(Roots(current=authority)).items()
            if value is not None
        }
        self.api.put("secrets", {"metadata": {"name": "watcher", "namespace": "kube-gateway"}, "data": data})
        self.make_map("kube-gateway-status")
        self.make_map("kube-gateway-revoked")
        self.authority = authority
        self.configuration = configuration(port=free_port(), trust_domain=trust_domain)
        self.gateways = []
        self.watcher, self._task = None, None

    def make_map(self, name):
        """As the manifest does: without data."""
        self.api.put("configmaps", {"metadata": {"name": name, "namespace": "kube-gateway"}})

    def begin_watcher(self):
        # As from a mounted file that has not been renewed.
        self.watcher = Watcher(self.api.client(), self.configuration, signer=Signer(Roots(current=self.authority)))
        self._task = asyncio.create_task(self.watcher.run())

    async def start_watcher(self):
        self.begin_watcher()
        await until(lambda: self.watcher._endpoint._cluster is not None or self._task.done())
        assert not self._task.done(), self._task

    async def stop_watcher(self):
        self._task.cancel()
        await asyncio.wait((self._task,))
        self.watcher = None

    def start_gateway(self, name, number):
        body = pod_body(name, address=f"127.0.0.{number}", encrypt="true")
        body["metadata"]["uid"] = f"uid-{name}"
        self.api.put("pods", with_gateways(body, running()))
        gateway = Gateway(self, name, f"127.0.0.{number}")
        self.gateways.append(gateway)
        return gateway

    async def end(self):
        for gateway in self.gateways:
            await gateway.end()
        if self.watcher is not None:
            await self.stop_watcher()

    @property
    def signer(self):
        return self.watcher._signer

    @property
    def rotation(self):
        return self.signer.roots.rotation


class Gateway:
    """`takes`: its worker does as it is told."""

    def __init__(self, world, name, address):
        self.pod = Pod(name=name, uid=f"uid-{name}", namespace="shop", service_account="web", addresses=(address,))
        self.takes = True
        self.revoked = ()
        self.connects = 0
        key, request = _native.create_key_and_request()
        signer = world.signer
        issued = signer.issuer.sign(request, pod=self.pod, life=world.configuration.certificate_life)
        identity = Identity(
            chain=issued.chain,
            key=key,
            trust_bundle=signer.bundle.pem,
            trust_domain=signer.issuer.trust_domain,
            expires=issued.expires,
        )
        self.keeper = CertificateKeeper(
            request=lambda request: self.link.send(request),  # noqa: PLW0108 - made below
            use=lambda: self.use.use(self.keeper.current),
            initial=identity,
        )
        self.use = IdentityUse(self._worker)
        connection = WatcherConnection(
            Whereabouts(host="127.0.0.1", port=world.configuration.port),
            watcher=str(watcher_id(world.configuration, trust_domain=signer.issuer.trust_domain)),
            identity=lambda: self.keeper.current,
        )
        self.link = WatcherLink(
            connection.connect,
            hello=lambda: messages.Hello(pod=self.pod.key, uid=self.pod.uid, generation=1, version="0"),
            on_connect=self._connected,
            on_disconnect=lambda: None,
            on_message=self._heard,
            longest_pause=5.0,
        )
        self.use.use(identity)
        self._tasks = [
            asyncio.create_task(work) for work in (self.link.run(), self.keeper.run(), self._report_forever())
        ]

    @property
    def says(self):
        return self.use.report(renews_at=0.0)

    def _connected(self):
        self.connects += 1
        self.keeper.connected()

    def _worker(self, message):
        if isinstance(message, worker_messages.UseIdentity) and self.takes:
            asyncio.get_running_loop().call_soon(self.use.taken, message.number)
        if isinstance(message, worker_messages.SetRevoked):
            self.revoked = message.uids

    def _heard(self, message):
        match message:
            case messages.Certificate() | messages.Trust() | messages.Renew():
                self.keeper.told(message)
            case messages.Revoked():
                self.use.revoke(message.uids)

    async def _report_forever(self):
        while True:
            self.link.send(
                messages.Report(
                    state="ready",
                    settings_revision=1,
                    certificate_expires=self.keeper.expires,
                    clear_connections=(),
                    snapshot=GatewaySnapshot(),
                    identity=self.says,
                )
            )
            await asyncio.sleep(0.03)

    async def end(self):
        for task in self._tasks:
            task.cancel()
        done, _ = await asyncio.wait(self._tasks)
        for task in done:
            with contextlib.suppress(asyncio.CancelledError):
                task.result()


async def until(condition, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
