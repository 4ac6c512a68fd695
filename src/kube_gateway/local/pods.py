"""One pod of this machine, with all its gateways, as the manager sees it."""

from __future__ import annotations

import contextlib
import logging

import msgspec

from kube_gateway import _native
from kube_gateway.control import messages
from kube_gateway.control.observed import PodObservation, PolicyFound
from kube_gateway.errors import InvalidAnnotation
from kube_gateway.local import cgroups
from kube_gateway.local.access_policies import AccessPolicies
from kube_gateway.local.gateways import Gateway
from kube_gateway.local.instance import Instance
from kube_gateway.local.policies import PolicyFiles
from kube_gateway.local.workloads import Workload
from kube_gateway.model.pod import Pod
from kube_gateway.model.settings import Settings, at_least_strict, settings_from_annotations

_log = logging.getLogger("manager")


class LocalPod:
    """A pod with its workload and its gateways: the newest, and older ones that have handed over, by generation.

    `strict`: if it encrypts, it is strict, whatever its annotations say.
    """

    def __init__(
        self,
        instance: Instance,
        workload: Workload,
        *,
        policies: PolicyFiles,
        access: AccessPolicies,
        strict: bool = False,
    ) -> None:
        self._instance = instance
        self._policies = policies
        self._access = access
        self._strict = strict
        self._cgroup = cgroups.pod_cgroup(instance, workload.record.name)
        self.workload = workload
        self.gateway = Gateway(instance, workload.record)
        self.older: dict[int, Gateway] = {}
        self.problem: str | None = None

    def observe(self) -> PodObservation:
        """What the brain sees of it."""
        self._notice_ends()
        gateway = self.gateway.observe()
        return PodObservation(
            pod=self.pod,
            running=self.workload.running,
            gateway=gateway,
            generation=self.gateway.generation,
            failures=self.gateway.failures,
            last_failure=self.gateway.last_failure,
            hooks_left=gateway is not None and gateway.state == "exited" and self._has_hooks(),
            problem=self.problem,
            policy=self.find_policy(),
            authorization=self.authorization,
        )

    @property
    def pod(self) -> Pod:
        """The pod as it counts: with the annotations that it has, or has to have."""
        pod = self.workload.record.pod
        return msgspec.structs.replace(pod, annotations=at_least_strict(pod.annotations)) if self._strict else pod

    @property
    def settings(self) -> Settings | None:
        """What its annotations ask for; None if an earlier version understood them, and this one does not."""
        with contextlib.suppress(InvalidAnnotation):
            return settings_from_annotations(self.pod.annotations)
        return None

    @property
    def authorization(self) -> str:
        """The rules of who may reach it."""
        return self._access.known.text_for(self.workload.record.pod)

    def authorize(self, text: str) -> None:
        """Tell its gateways who may reach it, older ones too, as they carry connections."""
        for gateway in (self.gateway, *self.older.values()):
            gateway.authorize(text)

    def find_policy(self) -> PolicyFound:
        """The policy for its LLM calls, if these shall pass one."""
        settings = self.settings
        return self._policies.find(self.workload.record.name, settings) if settings and settings.ai else PolicyFound()

    def put_aside(self) -> None:
        """The gateway becomes an older one; the next is yet to be started."""
        self.older[self.gateway.generation] = self.gateway
        self.gateway = Gateway(self._instance, self.workload.record)

    def gateway_of(self, generation: int) -> Gateway | None:
        """The gateway of this generation; None for one that there cannot be."""
        if generation == self.gateway.generation:
            return self.gateway
        if generation > self.gateway.generation:
            return None
        # An earlier manager may have started it.
        return self.older.setdefault(generation, Gateway(self._instance, self.workload.record))

    def _notice_ends(self) -> None:
        self.gateway.notice_end({older.cgroup for older in self.older.values()})
        for generation, gateway in list(self.older.items()):
            gateway.notice_end()
            if not gateway.running:
                pod = self.workload.record.pod.key
                _log.info("gateway %d of %s, an older one, ended with exit code %s", generation, pod, gateway.exit_code)
                del self.older[generation]

    def dismiss_older(self, grace: float) -> None:
        """Have older ones leave too: one that nobody has taken over from does not know that it shall."""
        for gateway in self.older.values():
            gateway.send(messages.Leave(grace=grace))

    def remove_hooks(self) -> None:
        """Remove what a gateway that died left."""
        _native.remove_hooks(str(self._cgroup))

    def _has_hooks(self) -> bool:
        return _native.has_hooks(str(self._cgroup)) > 0
