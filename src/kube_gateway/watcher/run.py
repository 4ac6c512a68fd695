"""The watcher's process: one of several leads, follows the cluster, and serves its gateways."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import AsyncIterator

from kube_gateway.errors import IdentityError
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.lease import LeaderElection, LeadershipLost
from kube_gateway.kube.work_queue import WorkQueue
from kube_gateway.watcher.acting import Actor
from kube_gateway.watcher.authority import Signer, load_signer
from kube_gateway.watcher.cluster import Cluster
from kube_gateway.watcher.configuration import LEASE, Configuration
from kube_gateway.watcher.endpoint import ControlEndpoint
from kube_gateway.watcher.figures import serve_figures
from kube_gateway.watcher.identities import Identities
from kube_gateway.watcher.policy_status import PolicyStatus
from kube_gateway.watcher.receipts import ReceiptDesk
from kube_gateway.watcher.reconcile import Reconciler
from kube_gateway.watcher.summary import PodSummary, Publisher

_log = logging.getLogger("watcher")

_LOOK_FOR_AUTHORITY = 1.0
_LEASE, _RENEW_WITHIN = 12.0, 8.0
"""Seconds. Looked at every two, so that another watcher leads within 15 after the one that leads fell silent."""


async def run_watcher(client: KubernetesClient, configuration: Configuration) -> None:
    """Watch until SIGTERM. Raises `KubeGatewayError` or `OSError` when it cannot go on."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await Watcher(client, configuration, signer=await _authority(configuration)).run()
    _log.info("ended")


async def _authority(configuration: Configuration) -> Signer:
    told = ""
    while True:
        try:
            signer = load_signer(configuration.authority, trust_domain=configuration.trust_domain)
        except IdentityError as error:
            if error.message != told:
                told = error.message
                _log.warning("waiting: %s%s", error.message, f" ({error.hint})" if error.hint else "")
            await asyncio.sleep(_LOOK_FOR_AUTHORITY)
        else:
            _log.info("root %s of %s", signer.authority.fingerprint[:16], signer.issuer.trust_domain)
            return signer


class Watcher:
    """One candidate for the leadership, and its endpoint."""

    def __init__(self, client: KubernetesClient, configuration: Configuration, *, signer: Signer) -> None:
        self._client = client
        self._configuration = configuration
        self._signer = signer
        self._endpoint = ControlEndpoint(configuration, signer=signer)
        self._receipts = ReceiptDesk(configuration.name)
        self._publisher: Publisher | None = None
        self._identities = Identities(client, configuration, signer=signer)
        # Whoever stands by sends gateways to the address in the leader's name.
        self._identity = f"{configuration.name}_{configuration.address}_{secrets.token_hex(4)}"

    async def run(self) -> None:
        """Stand by, lead, stand by again, until cancelled."""
        election = LeaderElection(
            self._client,
            namespace=self._configuration.namespace,
            name=LEASE,
            identity=self._identity,
            duration=_LEASE,
            renew_deadline=_RENEW_WITHIN,
            on_leader=self._leader_changed,
        )
        # The mounted Secret may be that of a step ago.
        await self._identities.look()
        async with _one_error(), asyncio.TaskGroup() as group:
            group.create_task(self._endpoint.run())
            group.create_task(self._receipts.run())
            if self._configuration.metrics_port:
                group.create_task(serve_figures(self._figures, port=self._configuration.metrics_port))
            group.create_task(self._identities.follow())
            try:
                await self._identities.revocations_known()
                while True:
                    try:
                        await election.run(self._lead)
                    except LeadershipLost as error:
                        _log.warning("%s; standing by", error.message)
            finally:
                self._endpoint.close()

    async def _lead(self) -> None:
        queue = WorkQueue()
        cluster = Cluster(
            self._client,
            self._configuration,
            on_pod=queue.add,
            on_services=self._endpoint.services_changed,
            revocations=lambda: self._signer.revocations,
            trust_domain=self._signer.issuer.trust_domain,
        )
        actor = Actor(
            self._client, self._configuration, cluster=cluster, signer=self._signer, instance=self._configuration.name
        )
        reconciler = Reconciler(self._configuration, cluster=cluster, actor=actor)
        publisher = Publisher(self._client, self._configuration, cluster=cluster, identities=self._identities)
        # Before anybody is let in: it may have been revoked while no watcher looked.
        await self._identities.look()
        self._endpoint.lead(cluster, queue.add)
        self._receipts.lead(cluster)
        try:
            async with _one_error(), asyncio.TaskGroup() as group:
                group.create_task(cluster.run())
                await cluster.pods_known()
                self._publisher = publisher
                group.create_task(queue.run(reconciler.look))
                group.create_task(publisher.run())
                group.create_task(self._identities.lead(cluster))
                group.create_task(PolicyStatus(self._client, cluster=cluster).run())
        finally:
            self._publisher = None
            self._receipts.stand_by()
            self._endpoint.stand_by()

    async def _figures(self) -> tuple[PodSummary, ...]:
        """Who stands by knows nothing."""
        return (await self._publisher.summary()).pods if self._publisher is not None else ()

    def _leader_changed(self, holder: str) -> None:
        name, _, rest = holder.partition("_")
        self._receipts.leader_is(name)
        address = rest.rpartition("_")[0]
        host = f"[{address}]" if ":" in address else address
        self._endpoint.leader_is(f"tls:{host}:{self._configuration.port}" if address else "")


@contextlib.asynccontextmanager
async def _one_error() -> AsyncIterator[None]:
    """Raise what went wrong first rather than a group, which no caller knows how to tell."""
    try:
        yield
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
