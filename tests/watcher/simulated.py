"""A watcher with short pauses, and the process of a gateway, simulated: what `cluster_world` puts into its cluster."""

from __future__ import annotations

import asyncio
import collections

import msgspec

from kube_gateway.control import decide as deciding
from kube_gateway.control import messages
from kube_gateway.kube.work_queue import WorkQueue
from kube_gateway.model.ai_report import AiReport, policy_name
from kube_gateway.model.authorization import authorization_name
from kube_gateway.model.flow import AccessReport, GatewaySnapshot
from kube_gateway.watcher import cluster as cluster_module
from kube_gateway.watcher import reconcile as reconcile_module
from kube_gateway.watcher.acting import Actor
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.reconcile import Reconciler
from watcher.made import IMAGE, Writer, configuration, report, signer

LONGEST_PAUSE = 0.06


def hurry(monkeypatch):
    """Make the pauses of all that wait short."""
    monkeypatch.setattr(deciding, "FIRST_RETRY", 0.01)
    monkeypatch.setattr(cluster_module, "_PAUSES", (0.005, 0.05))
    monkeypatch.setattr(cluster_module, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(reconcile_module, "_LOOK_AGAIN", 0.05)
    monkeypatch.setattr(reconcile_module, "_MEND_SECRET_AFTER", 0.05)


class SimulatedWatcher:
    """One that leads, or believes so."""

    def __init__(self, api, *, image=IMAGE, instance="watcher-1", **options):
        self.queue = WorkQueue(first_retry=0.01, longest_retry=LONGEST_PAUSE)
        self.services_changed = []
        settings = configuration(image=image, longest_retry=LONGEST_PAUSE, **options)
        client = api.client()
        self.cluster = Cluster(
            client,
            settings,
            on_pod=self.queue.add,
            on_services=self.services_changed.append,
            revocations=tuple,
            trust_domain="cluster.local",
        )
        actor = Actor(client, settings, cluster=self.cluster, signer=signer(), instance=instance)
        self.reconciler = Reconciler(settings, cluster=self.cluster, actor=actor)
        self.looks = collections.Counter()
        self._task = asyncio.create_task(self._run())

    async def _look(self, key):
        self.looks[key] += 1
        return await self.reconciler.look(key)

    async def _run(self):
        async with asyncio.TaskGroup() as group:
            group.create_task(self.cluster.run())
            await self.cluster.pods_known()
            await self.queue.run(self._look)

    async def end(self):
        self.check()
        self._task.cancel()
        await asyncio.wait((self._task,))

    def check(self):
        """It must not have died."""
        if self._task.done():
            self._task.result()


class Gateway:
    """The process in the pod: connects, does as it is told, ends."""

    def __init__(self, world, key, uid, number, settings):
        self.world, self.key, self.uid, self.number = world, key, uid, number
        self.settings, self.revision = settings, 0
        self.draining = False
        self.policy = None
        self.refuses = None
        self.counted = ()
        self.authorization = None
        self.watcher = None
        self.writer = None

    def connect(self, watcher):
        if self.watcher is watcher:
            return
        pod = watcher.cluster.pod(self.key)
        if pod is None or pod.metadata.uid != self.uid:
            return
        self.watcher, self.writer = watcher, Writer(self._heard)
        memory = watcher.cluster.memory(self.key)
        memory.line(self.number).connected(self.writer)
        watcher.queue.add(self.key)
        self._say("draining" if self.draining else "ready")

    def lose(self):
        if self.watcher is not None:
            line = self._line()
            if line is not None:
                line.disconnected(self.writer)
            self.watcher.queue.add(self.key)
        self.watcher = None

    def _line(self):
        pod = self.watcher.cluster.pod(self.key)
        if pod is None or pod.metadata.uid != self.uid:
            return None
        return self.watcher.cluster.memory(self.key).lines.get(self.number)

    def _say(self, state):
        line = self._line()
        said = msgspec.structs.replace(
            report(state),
            settings_revision=self.revision,
            ai=self._ai(),
            snapshot=GatewaySnapshot(access=self._access()),
        )
        if line is not None and line.reported(said):
            self.watcher.queue.add(self.key)

    def _access(self):
        return AccessReport(rules=authorization_name(self.authorization)) if self.authorization else None

    def _ai(self):
        if self.settings is None or not self.settings.ai:
            return None
        if self.policy is None:
            return AiReport()
        told = AiReport(
            policy=policy_name(self.policy.text),
            source=self.policy.source,
            model=self.settings.ai_model,
            budgets=self.counted or self.policy.budgets,
        )
        return (
            told if self.refuses is None else msgspec.structs.replace(told, refused=self.refuses, problem="rules[0]: ?")
        )

    def _heard(self, message):
        if isinstance(message, messages.Configure):
            self.settings, self.revision = message.settings, message.revision
            self._say("ready")
        elif isinstance(message, messages.UsePolicy):
            if self.world.gateways_refuse == message.text:
                self.refuses = policy_name(message.text)
            else:
                self.policy, self.refuses = message, None
            self._say("ready")
        elif isinstance(message, messages.Authorize):
            self.authorization = message.text
            self._say("draining" if self.draining else "ready")
        elif isinstance(message, messages.Leave):
            self.draining = True
