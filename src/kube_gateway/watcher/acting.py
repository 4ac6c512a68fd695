"""Does what was decided, through the API. Doing a thing twice is harmless: names and contents follow from what is asked.

Every write names the pod's uid, so a pod that has been replaced by another of the same name is left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime
from typing import Literal

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.observed import Obstacle, PodObservation
from kube_gateway.errors import KubeGatewayError
from kube_gateway.identity.spiffe import SpiffeId
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import KubernetesError, NotFound
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Settings
from kube_gateway.watcher import ai_condition, attach, condition
from kube_gateway.watcher.authority import Signer
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.events import collection, event
from kube_gateway.watcher.memory import PodMemory
from kube_gateway.watcher.objects import PodObject
from kube_gateway.watcher.refusal import is_there_already, obstacle_from

_log = logging.getLogger("watcher")


class NotReady(KubeGatewayError, OSError):
    """Something is not known yet; it is tried again."""


class Actor:
    """Writes for one watcher; `instance` is its name."""

    def __init__(
        self, client: KubernetesClient, configuration: Configuration, *, cluster: Cluster, signer: Signer, instance: str
    ) -> None:
        self._client = client
        self._configuration = configuration
        self._cluster = cluster
        self._signer = signer
        self._instance = instance

    async def start(
        self, seen: PodObject, observation: PodObservation, *, memory: PodMemory, generation: int, settings: Settings
    ) -> None:
        """Add gateway number `generation`. Raises `KubernetesError`; a refusal is remembered and told instead.

        `memory` is that of this very pod: while it is waited for an answer, another pod may take its name.
        """
        pod = observation.pod
        how = self._how(
            seen,
            # None: nobody knows them yet. Then nobody gets in before they are there.
            messages.configure(settings, pod=pod, revision=0, authorize=observation.authorization != ""),
            generation,
        )
        container = attach.ephemeral_container(pod, how)
        patch = {"metadata": {"uid": pod.uid}, "spec": {"ephemeralContainers": [container]}}
        changes = memory.namespace_changes
        if condition.current(seen) is None:
            # First of all: by the condition a watcher that starts later knows that there may be a Secret to be removed.
            await self.claim(seen, pod, condition.BEING_ADDED, memory=memory)
        try:
            await self.write_secret(pod, memory=memory)
            await self._client.patch(f"{_path(pod)}/ephemeralcontainers", patch, kind="strategic")
        except KubernetesError as error:
            if is_there_already(error):
                memory.started = generation
                return
            obstacle = obstacle_from(error, namespace=pod.namespace, configuration=self._configuration)
            if obstacle is None or memory.namespace_changes != changes:
                raise
            memory.refused(obstacle)
            if observation.problem != obstacle.message:
                await self.report(pod, obstacle, memory=memory)
            memory.told = obstacle.message
            return
        memory.started, memory.images[generation] = generation, how.image
        memory.allow()
        _log.info("%s: gateway %d is added", pod.key, generation)
        note = f"Added {container['name']} ({container['image']}) with a certificate for {self._spiffe_id(pod)}"
        await self.tell(pod, reason="GatewayAdded", action="Enrol", note=note)

    async def claim(
        self, seen: PodObject, pod: Pod, claim: condition.Claim, *, memory: PodMemory, kind: str = condition.ENCRYPTED
    ) -> None:
        """Say it in the pod's condition `kind`, and in an event where that is news."""
        before, version = condition.current(seen, kind), seen.metadata.resource_version
        said = condition.Claim(status=before.status, reason=before.reason, message=before.message) if before else None
        if kind in memory.claimed and memory.claimed[kind][0] == version:
            # What was written since has not been seen yet.
            said = memory.claimed[kind][1]
        if said == claim:
            return
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        same = before is not None and before.status == claim.status
        body = {
            "type": kind,
            "status": claim.status,
            "reason": claim.reason,
            "message": claim.message,
            "lastTransitionTime": before.last_transition_time if before is not None and same else now,
        }
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": [body]}}
        await self._client.patch(f"{_path(pod)}/status", patch, kind="strategic")
        memory.claimed[kind] = version, claim
        if kind == condition.AI:
            if (text := ai_condition.news(claim, said)) is not None:
                await self.tell(pod, reason="PolicyApplied", action="Configure", note=text)
        elif said is None or said.reason != claim.reason:
            await self._tell_of(pod, claim)

    async def remove_secret(self, pod: Pod, *, memory: PodMemory) -> None:
        """The pod has no gateway any more."""
        path = f"/api/v1/namespaces/{pod.namespace}/secrets/{attach.secret_name(pod.name)}"
        with contextlib.suppress(NotFound):
            await self._client.delete(path)
        memory.secret = False

    async def report(self, pod: Pod, problem: Obstacle, *, memory: PodMemory) -> None:
        """Tell the pod's owner what is wrong."""
        memory.told = problem.message
        _log.warning("%s: %s", pod.key, problem.message)
        note = f"{problem.message}; to mend it: {problem.hint}" if problem.hint else problem.message
        await self.tell(pod, reason=problem.reason, action="Enrol", note=note, kind="Warning")

    async def tell(
        self, pod: Pod, *, reason: str, action: str, note: str, kind: Literal["Normal", "Warning"] = "Normal"
    ) -> None:
        """Post an event. That it could not be posted is no reason to do anything again."""
        body = event(pod, reason=reason, note=note, kind=kind, action=action, instance=self._instance)
        try:
            await self._client.create(collection(pod), body)
        except KubernetesError as error:
            _log.warning("%s: the event %s could not be posted: %s", pod.key, reason, error.message)

    async def _tell_of(self, pod: Pod, claim: condition.Claim) -> None:
        _log.info("%s: %s: %s", pod.key, claim.reason, claim.message or claim.status)
        match claim.reason:
            case "Encrypting":
                await self.tell(pod, reason="Encrypting", action="Enrol", note=claim.message)
            case "GatewayDied" | "GatewayNotConnected":
                await self.tell(pod, reason=claim.reason, action="Watch", note=claim.message, kind="Warning")
            case condition.NOT_ENROLLED:
                await self.tell(pod, reason="Left", action="Leave", note="The gateway has left")

    async def write_secret(self, pod: Pod, *, memory: PodMemory) -> None:
        """A new key and certificate for the gateway that starts next."""
        self._signer.check(pod.uid, pod=pod.key)
        memory.secret, memory.secret_written_at = True, time.monotonic()
        key, request = await asyncio.to_thread(_native.create_key_and_request)
        life = self._configuration.certificate_life
        issued = self._signer.issuer.sign(request, pod=pod, life=life)
        body = attach.secret(pod, chain=issued.chain, key=key, trust_bundle=self._signer.bundle.pem)
        path = f"/api/v1/namespaces/{pod.namespace}/secrets/{attach.secret_name(pod.name)}"
        await self._client.patch(path, body, kind="apply")

    def _how(self, seen: PodObject, settings: messages.Configure, generation: int) -> attach.Start:
        image, control = self._cluster.image, self._cluster.control_for(seen)
        if not image or not control:
            missing = "the image of the watcher's own pod" if not image else "the address of the watcher's Service"
            raise NotReady(f"{missing} is not known yet", hint="or say it: --image, --control")
        configuration = self._configuration
        return attach.Start(
            generation=generation,
            settings=settings,
            control=control,
            watcher=str(watcher_id(configuration, trust_domain=self._signer.issuer.trust_domain)),
            image=image,
            pull_policy=configuration.pull_policy,
            privileged=self._cluster.needs_privilege(seen),
            target=seen.spec.containers[0].name if configuration.target_first and seen.spec.containers else "",
        )

    def _spiffe_id(self, pod: Pod) -> SpiffeId:
        return SpiffeId(
            trust_domain=self._signer.issuer.trust_domain,
            namespace=pod.namespace,
            service_account=pod.service_account,
        )


def watcher_id(configuration: Configuration, *, trust_domain: str) -> SpiffeId:
    """Who the watcher is, for gateways."""
    return SpiffeId(
        trust_domain=trust_domain,
        namespace=configuration.namespace,
        service_account=configuration.service_account,
    )


def _path(pod: Pod) -> str:
    return f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
