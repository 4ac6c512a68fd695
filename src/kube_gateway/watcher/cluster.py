"""What the watcher knows of the cluster: copies of its objects, and what it remembers of each pod."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from kube_gateway.control.decide import is_enrolled, settings_of
from kube_gateway.control.flush_log import FlushLog
from kube_gateway.control.observed import PodObservation, PolicyFound
from kube_gateway.control.trust import revoked
from kube_gateway.identity.revocation import Revocations, is_revoked
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.informer import Informer
from kube_gateway.kube.service_objects import EndpointSliceObject, ServiceObject
from kube_gateway.kube.services import HANDLED_BY_KUBE_PROXY, Destination, ServiceDirectory
from kube_gateway.model.ports import ANNOTATION_PREFIX
from kube_gateway.model.service import ServiceBackends
from kube_gateway.watcher.access_policies import LOOK_AGAIN, ClusterPolicies
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.generations import NEEDS_PRIVILEGE, generations
from kube_gateway.watcher.memory import PodMemory
from kube_gateway.watcher.objects import NamespaceObject, PodObject, our_annotations, seconds
from kube_gateway.watcher.observation import Surroundings, observe
from kube_gateway.watcher.policies import PolicyMaps

UPGRADES_AT_ONCE = 5
_UPGRADE_WITHIN = 60.0

_PAUSES = (0.2, 5.0)
_PROXIED = {"labelSelector": HANDLED_BY_KUBE_PROXY}


class Cluster:
    """`on_pod(key)` is told of pods to look at, `on_services(destinations)` of changed Services; `revocations` are those
    in force at that moment."""

    def __init__(
        self,
        client: KubernetesClient,
        configuration: Configuration,
        *,
        on_pod: Callable[[str], None],
        on_services: Callable[[set[Destination]], None],
        revocations: Callable[[], Revocations],
        trust_domain: str,
    ) -> None:
        self._configuration = configuration
        self._on_pod = on_pod
        self.revocations = revocations
        self._memories: dict[str, PodMemory] = {}
        self._by_address: dict[str, str] = {}
        self._needy_nodes: set[str] = set()
        self._upgrades: dict[str, float] = {}
        self.flushes = FlushLog()
        self.services = ServiceDirectory()
        self._policies = PolicyMaps(client, on_pod=on_pod)
        self.access = ClusterPolicies(
            client, trust_domain=trust_domain, on_namespace=self._access_changed, look_again=LOOK_AGAIN
        )
        self.pods = Informer(client, "/api/v1/pods", PodObject, on_change=self._pod_changed, pauses=_PAUSES)
        self._namespaces = Informer(
            client,
            "/api/v1/namespaces",
            NamespaceObject,
            on_change=self._namespace_changed,
            name="namespaces",
            pauses=_PAUSES,
        )
        self._service_objects = Informer(
            client,
            "/api/v1/services",
            ServiceObject,
            on_change=lambda key, service: on_services(self.services.service_changed(key, service)),
            parameters=_PROXIED,
            name="services",
            pauses=_PAUSES,
        )
        self._slices = Informer(
            client,
            "/apis/discovery.k8s.io/v1/endpointslices",
            EndpointSliceObject,
            on_change=lambda key, part: on_services(self.services.slice_changed(key, part)),
            parameters=_PROXIED,
            name="endpoint slices",
            pauses=_PAUSES,
        )

    async def run(self) -> None:
        """Follow everything until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            group.create_task(self._namespaces.run())
            group.create_task(self._service_objects.run())
            group.create_task(self._slices.run())
            group.create_task(self._policies.run())
            group.create_task(self.access.run())

    async def pods_known(self) -> None:
        """Wait until pods, namespaces and who may reach whom are complete."""
        await self.pods.synced.wait()
        await self._namespaces.synced.wait()
        await self.access.known.wait()

    async def services_known(self) -> None:
        """Wait until Services and their endpoints are complete."""
        await self._service_objects.synced.wait()
        await self._slices.synced.wait()

    @property
    def image(self) -> str:
        """What gateways shall run: what was said, or what the watcher's own pod runs; empty while that is not known."""
        own = self.pods.store.get(f"{self._configuration.namespace}/{self._configuration.name}")
        return self._configuration.image or (own.spec.containers[0].image if own and own.spec.containers else "")

    def control_for(self, pod: PodObject) -> str:
        """Where a gateway in the pod finds the watcher; empty if that is not known (yet)."""
        if self._configuration.control:
            return self._configuration.control
        service = self._service_objects.store.get(f"{self._configuration.namespace}/{self._configuration.service}")
        families = {":" in address for address in pod.addresses}
        for address in service.spec.cluster_ips or () if service is not None else ():
            if (":" in address) in families:
                host = f"[{address}]" if ":" in address else address
                return f"tls:{host}:{self._configuration.port}"
        return ""

    def pod(self, key: str) -> PodObject | None:
        """A pod that can have a gateway at all; those of the watcher's own namespace never do."""
        pod = self.pods.store.get(key)
        return None if pod is None or pod.metadata.namespace == self._configuration.namespace else pod

    def memory(self, key: str) -> PodMemory:
        """What is remembered of a pod that is there."""
        return self._memories[key]

    def observe(self, key: str) -> PodObservation | None:
        """What is to be decided on; None for a pod that is gone or has no business with us."""
        pod = self.pod(key)
        if pod is None:
            return None
        memory = self._memories[key]
        surroundings = Surroundings(
            inherited=self._inherited(pod.metadata.namespace),
            image=self.image,
            started=memory.started,
            refusal=memory.refusal,
            longest_retry=self._configuration.longest_retry,
            now=time.time(),
            images=memory.images,
            ended=memory.ended,
            told=memory.told,
            known_for=time.monotonic() - memory.since,
            certificate_life=self._configuration.certificate_life.total_seconds(),
            strict=self._configuration.strict,
        )
        observation = observe(pod, memory.lines, surroundings)
        if is_revoked(self.revocations(), observation.pod.uid):
            observation = msgspec.structs.replace(observation, obstacle=revoked(observation.pod))
        return msgspec.structs.replace(
            observation,
            policy=self._policy(key, observation),
            authorization=self.access.text_for(observation.pod),
        )

    def peers_of(self, observation: PodObservation) -> tuple[PodObservation, ...]:
        """The pods that it has connections in clear with, and those behind Services that it has some with."""
        gateway = observation.gateway
        addresses = {connection.remote_address for connection in gateway.clear_connections} if gateway else set()
        for service in self.services_of(observation).values():
            addresses.update(backend.address for backend in service.backends)
        keys = {self._by_address[address] for address in addresses if address in self._by_address}
        return tuple(filter(None, (self.observe(key) for key in keys - {observation.pod.key})))

    def services_of(self, observation: PodObservation) -> dict[Destination, ServiceBackends]:
        """What is behind the Services that a pod has connections in clear with."""
        gateway, seen = observation.gateway, self.pods.store.get(observation.pod.key)
        reported = gateway.clear_connections if gateway is not None else ()
        node = seen.spec.node_name if seen is not None else ""
        destinations = {(each.remote_address, each.remote_port) for each in reported}
        resolved = {each: self.services.resolve(*each, node=node) for each in destinations}
        return {each: service for each, service in resolved.items() if service is not None}

    def is_enrolled(self, address: str) -> bool:
        """Whether the workload at `address` encrypts."""
        key = self._by_address.get(address)
        observation = self.observe(key) if key is not None else None
        return observation is not None and is_enrolled((observation,), address)

    def needs_privilege(self, pod: PodObject) -> bool:
        """Whether gateways on the pod's node have to be privileged."""
        if self._configuration.privileged == "when-needed":
            return pod.spec.node_name in self._needy_nodes
        return self._configuration.privileged == "always"

    def may_upgrade(self, key: str) -> bool:
        """Whether another gateway may take over now. Not all at once: an image that does not work must not take all down.

        The answer yes counts as begun.
        """
        now = time.monotonic()
        self._upgrades = {other: until for other, until in self._upgrades.items() if until > now}
        if key not in self._upgrades and len(self._upgrades) >= UPGRADES_AT_ONCE:
            return False
        self._upgrades[key] = now + _UPGRADE_WITHIN
        return True

    def upgraded(self, key: str) -> None:
        """That has been done, or has come to nothing."""
        self._upgrades.pop(key, None)

    def _policy(self, key: str, observation: PodObservation) -> PolicyFound:
        settings = settings_of(observation)
        wanted = observation.running and settings is not None and settings.wanted and settings.ai
        if settings is None or not wanted:
            self._policies.forget(key)
            return PolicyFound()
        return self._policies.find(key, settings)

    def _inherited(self, namespace: str) -> dict[str, str]:
        default = self._configuration.capture_cidrs
        base = {f"{ANNOTATION_PREFIX}podcidr": default} if default else {}
        found = self._namespaces.store.get(namespace)
        return {**base, **our_annotations(found.metadata.annotations if found else None)}

    def _pod_changed(self, key: str, pod: PodObject | None) -> None:
        memory = self._memories.get(key)
        for address in memory.addresses if memory is not None else ():
            if self._by_address.get(address) == key:
                del self._by_address[address]
        if pod is None:
            self._memories.pop(key, None)
            self._upgrades.pop(key, None)
            self._policies.forget(key)
            self.access.set.forget(key)
        else:
            known = memory is not None and memory.uid == pod.metadata.uid
            if memory is None or not known:
                memory = self._memories[key] = PodMemory(pod.metadata.uid)
            _note_ends(pod, memory, known=known)
            # The address of a pod that has ended may be another's by now; that of a node is nobody's.
            has_own = pod.status.phase in {"Running", "Pending"} and not pod.spec.host_network
            memory.addresses = pod.addresses if has_own else ()
            self._by_address.update(dict.fromkeys(memory.addresses, key))
            if _says_that_its_node_needs_privilege(pod):
                self._needy_nodes.add(pod.spec.node_name)
        self._on_pod(key)

    def _access_changed(self, namespace: str) -> None:
        for key, pod in self.pods.store.items():
            if not namespace or pod.metadata.namespace == namespace:
                self._on_pod(key)

    def _namespace_changed(self, name: str, _: NamespaceObject | None) -> None:
        for key, pod in self.pods.store.items():
            if pod.metadata.namespace == name:
                self._memories[key].namespace_changed()
                self._on_pod(key)


def _note_ends(pod: PodObject, memory: PodMemory, *, known: bool) -> None:
    """When a gateway ended, by our clock: a node's may be wrong by hours, and pauses depend on it.

    Of those that ended before the watcher looked, only their node knows.
    """
    now = time.time()
    for generation in generations(pod):
        if generation.terminated is not None:
            end = now if known else min(seconds(generation.terminated.finished_at), now)
            memory.ended.setdefault(generation.number, end)


def _says_that_its_node_needs_privilege(pod: PodObject) -> bool:
    ends = [(generation, generation.terminated) for generation in generations(pod)]
    return any(one.privileged or (ended is not None and ended.exit_code == NEEDS_PRIVILEGE) for one, ended in ends)
