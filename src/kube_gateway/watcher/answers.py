"""What the watcher of a cluster answers to the gateway of one pod, and only about that pod."""

from __future__ import annotations

from collections.abc import Callable

from kube_gateway.control import messages
from kube_gateway.control.certifying import certify
from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.errors import IdentityError
from kube_gateway.kube.services import Destination, canonical_address, is_among
from kube_gateway.model.service import ServiceBackends
from kube_gateway.watcher.authority import Signer
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.configuration import Configuration
from kube_gateway.watcher.objects import PodObject, pod_of

MOST_DESTINATIONS = 16_384
"""Service addresses that one gateway is told changes of."""


class PodAnswers:
    """Answers for one line. `pod` and `uid` are those that the gateway has proved."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        cluster: Cluster,
        signer: Signer,
        pod: str,
        uid: str,
        gateway: ConnectedGateway,
        on_change: Callable[[str], None],
    ) -> None:
        self._configuration = configuration
        self._cluster = cluster
        self._signer = signer
        self._pod = pod
        self._uid = uid
        self._gateway = gateway
        self._on_change = on_change
        self._told: set[Destination] = set()

    def certify(self, request: messages.CertificateRequest) -> messages.Certificate:
        """Sign a request, for the pod as it is now."""
        self._signer.check(self._uid, pod=self._pod)
        return certify(
            request,
            pod=pod_of(self._seen(), inherited={}),
            issuer=self._signer.issuer,
            bundle=self._signer.bundle,
            life=self._configuration.certificate_life,
        )

    def is_enrolled(self, address: str) -> bool:
        """Whether the workload at `address` encrypts."""
        return self._cluster.is_enrolled(address)

    def resolve(self, address: str, port: int) -> ServiceBackends | None:
        """What is behind an address; each change is told from now on."""
        try:
            destination = (canonical_address(address), port)
        except ValueError:
            return None
        if len(self._told) < MOST_DESTINATIONS:
            self._told.add(destination)
        return self._resolve(destination)

    def changed(self) -> None:
        """The pod is to be looked at."""
        self._on_change(self._pod)

    def services_changed(self, changed: set[Destination]) -> None:
        """Tell the gateway what it has asked for."""
        for address, port in self._told:
            if is_among(changed, address, port):
                service = self._resolve((address, port))
                self._gateway.send(messages.ServiceAnswer(address=address, port=port, service=service))

    def _resolve(self, destination: Destination) -> ServiceBackends | None:
        seen = self._cluster.pod(self._pod)
        node = seen.spec.node_name if seen is not None else ""
        return self._cluster.services.resolve(*destination, node=node)

    def _seen(self) -> PodObject:
        seen = self._cluster.pod(self._pod)
        if seen is None or seen.metadata.uid != self._uid or seen.has_ended:
            raise IdentityError(f"the pod {self._pod} is gone")
        return seen
