"""The cluster's GatewayPolicies: followed where their CustomResourceDefinition is installed, looked for where it is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from kube_gateway.authorization.policy_set import PolicySet
from kube_gateway.authorization.schema import API_VERSION, KIND
from kube_gateway.kube.client import KubernetesClient, Metadata
from kube_gateway.kube.informer import Informer
from kube_gateway.kube.refusals import Forbidden, KubernetesError, NotFound, rule_for
from kube_gateway.model.pod import Pod

_log = logging.getLogger("watcher")

PATH = f"/apis/{API_VERSION}/gatewaypolicies"
LOOK_AGAIN = 30.0
"""Seconds until it is looked again whether there are GatewayPolicies, if there are none or they may not be read."""

_PAUSE = 0.5
_PAUSES = (0.2, 5.0)


class PolicyObject(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A GatewayPolicy; what its author has written is read by `authorization`, and may be anything."""

    metadata: Metadata = Metadata()
    spec: Any = None
    status: Any = None


class ClusterPolicies:
    """`on_namespace(name)` is told of namespaces whose policies have changed, and of all (empty) once they are known.

    `known` is set when it is clear which policies there are, or that it cannot be told.
    """

    def __init__(
        self, client: KubernetesClient, *, trust_domain: str, on_namespace: Callable[[str], None], look_again: float
    ) -> None:
        self._client = client
        self._on_namespace = on_namespace
        self._look_again = look_again
        self._readable: bool | None = None
        self._told = False
        self.known = asyncio.Event()
        self.set = PolicySet(trust_domain=trust_domain)
        self.informer = Informer(
            client,
            PATH,
            PolicyObject,
            on_change=self._changed,
            name="gateway policies",
            pauses=_PAUSES,
            large=False,
        )

    async def run(self) -> None:
        """Follow them until cancelled."""
        while (pause := await self._look()) is not None:
            await asyncio.sleep(pause)
        following = asyncio.create_task(self.informer.run())
        try:
            synced = asyncio.create_task(self.informer.synced.wait())
            await asyncio.wait((synced, following), return_when=asyncio.FIRST_COMPLETED)
            synced.cancel()
            self._readable = True
            self.known.set()
            self._on_namespace("")
            await following
        finally:
            following.cancel()

    def text_for(self, pod: Pod) -> str | None:
        """The rules for a pod's gateway, empty where none select it; None while that cannot be told."""
        return None if self._readable is None else self.set.text_for(pod)

    async def _look(self) -> float | None:
        """None if they can be followed; else the seconds until that is worth another look.

        While it is not known what there is, gateways keep the rules that they have.
        """
        try:
            await self._client.list(PATH, PolicyObject, parameters={"limit": "1"})
        except NotFound:
            if self._readable is None:
                _log.info("the cluster has no GatewayPolicies (their definition is not installed)")
            self._readable = False
        except Forbidden as error:
            if not self.known.is_set():
                rule = rule_for(PATH, "get", "list", "watch")
                _log.error("gateway policies: %s; the role needs the rule %s", error.message, rule)
        except KubernetesError as error:
            if not self._told:
                self._told = True
                _log.warning("gateway policies: %s, trying again", error.message)
            return min(_PAUSE, self._look_again)
        else:
            return None
        if not self.known.is_set():
            self.known.set()
            self._on_namespace("")
        return self._look_again

    def _changed(self, key: str, found: PolicyObject | None) -> None:
        namespace, _, name = key.partition("/")
        if found is None:
            self.set.remove(key)
        else:
            metadata = {"name": name, "namespace": namespace}
            written = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": found.spec}
            if not self.set.put(key, written):
                return
            if key in self.set.problems:
                _log.warning("the GatewayPolicy %s is not right: %s", key, self.set.problems[key])
        if self.known.is_set():
            self._on_namespace(namespace)
