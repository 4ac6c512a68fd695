"""The policies for LLM calls: ConfigMaps, each followed by its name, and only those that a pod asks for.

The role has to allow all ConfigMaps, as their names are not known beforehand; what is asked of the API is one object at a
time, as a kubelet asks for the ConfigMaps of its pods. Pods that name the same one share its watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kube_gateway.control.observed import PolicyFound
from kube_gateway.control.policies import KEY, config_name, found_policy, no_policy, unusable
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.informer import Informer
from kube_gateway.model.settings import Settings
from kube_gateway.watcher.objects import ConfigMapObject

MOST_FOLLOWED = 1000
"""Each has a connection to the API server, which takes some 70 kB of memory here."""

KNOWN_WITHIN = 5.0
"""Seconds after which it is a problem that a ConfigMap is not known."""

_PAUSES = (0.2, 5.0)

_Name = tuple[str, str]


class _Followed:
    """One ConfigMap, or the lack of one. `pods` are keys of those that ask for it; `read` is what was found, by version."""

    def __init__(self, client: KubernetesClient, name: _Name, *, on_change: Callable[[], None]) -> None:
        namespace, own = name
        self.pods: set[str] = set()
        self.task: asyncio.Task[None] | None = None
        self.late = False
        self.read: tuple[str, PolicyFound] | None = None
        self.informer = Informer(
            client,
            f"/api/v1/namespaces/{namespace}/configmaps",
            ConfigMapObject,
            on_change=lambda _key, _object: on_change(),
            parameters={"fieldSelector": f"metadata.name={own}"},
            name=f"ConfigMap {namespace}/{own}",
            pauses=_PAUSES,
            large=False,
        )


class PolicyMaps:
    """`on_pod(key)` is told of pods whose policy may be another by now."""

    def __init__(self, client: KubernetesClient, *, on_pod: Callable[[str], None]) -> None:
        self._client = client
        self._on_pod = on_pod
        self._group: asyncio.TaskGroup | None = None
        self._followed: dict[_Name, _Followed] = {}
        self._names: dict[str, _Name] = {}

    async def run(self) -> None:
        """Follow what is asked for until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for name, followed in self._followed.items():
                self._begin(name, followed)
            await asyncio.Event().wait()

    def find(self, pod: str, settings: Settings) -> PolicyFound:
        """What is known of the policy of a pod (`namespace/name`); from now on its changes are told."""
        namespace, _, own = pod.partition("/")
        name = (namespace, settings.ai_config or config_name(own))
        if self._names.get(pod) != name:
            self.forget(pod)
            if name not in self._followed and len(self._followed) >= MOST_FOLLOWED:
                hint = "have pods share one: kube-gateway.io/ai-config=NAME"
                return unusable(f"more than {MOST_FOLLOWED} ConfigMaps with policies are not followed", hint)
            self._follow(pod, name)
        return self._found(name)

    def forget(self, pod: str) -> None:
        """The pod asks for none any more."""
        name = self._names.pop(pod, None)
        if name is None:
            return
        followed = self._followed[name]
        followed.pods.discard(pod)
        if not followed.pods:
            del self._followed[name]
            if followed.task is not None:
                followed.task.cancel()

    def _follow(self, pod: str, name: _Name) -> None:
        self._names[pod] = name
        followed = self._followed.get(name)
        if followed is None:
            followed = _Followed(self._client, name, on_change=lambda: self._changed(name))
            self._followed[name] = followed
            if self._group is not None:
                self._begin(name, followed)
        followed.pods.add(pod)

    def _begin(self, name: _Name, followed: _Followed) -> None:
        assert self._group is not None  # noqa: S101 - `run` has begun
        followed.task = self._group.create_task(self._keep(name, followed))

    async def _keep(self, name: _Name, followed: _Followed) -> None:
        following = asyncio.create_task(followed.informer.run())
        try:
            known = asyncio.create_task(followed.informer.synced.wait())
            await asyncio.wait((known, following), timeout=KNOWN_WITHIN, return_when=asyncio.FIRST_COMPLETED)
            followed.late = not followed.informer.synced.is_set()
            self._changed(name)
            await known
            followed.late = False
            self._changed(name)
            await following
        finally:
            following.cancel()
            known.cancel()

    def _changed(self, name: _Name) -> None:
        followed = self._followed.get(name)
        for pod in tuple(followed.pods) if followed is not None else ():
            self._on_pod(pod)

    def _found(self, name: _Name) -> PolicyFound:
        namespace, own = name
        followed = self._followed[name]
        if followed.late:
            hint = "see that the watcher may list and watch ConfigMaps: kube-gateway check"
            return unusable(f"the ConfigMap {own} could not be read", hint)
        if not followed.informer.synced.is_set():
            return PolicyFound()
        found = followed.informer.store.get(f"{namespace}/{own}")
        if found is None:
            return no_policy(f"no ConfigMap {own}")
        version = found.metadata.resource_version
        if followed.read is None or followed.read[0] != version:
            followed.read = version, _read(found)
        return followed.read[1]


def _read(found: ConfigMapObject) -> PolicyFound:
    own = found.metadata.name
    if found.data is None or found.data.config is None:
        return unusable(f"the ConfigMap {own} has no key `{KEY}`", f"put the policy under the key `{KEY}`")
    return found_policy(found.data.config, source=f"ConfigMap {own}")
