"""Whom checks ask."""

from __future__ import annotations

from typing import Self

from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import KubernetesError


class Session:
    """A client of the cluster, or why there is none; `namespace` is the watcher's. `async with` closes the client."""

    def __init__(self, client: KubernetesClient | KubernetesError, *, namespace: str) -> None:
        self._client = client
        self.namespace = namespace

    @property
    def client(self) -> KubernetesClient:
        """The client. Raises `KubernetesError` if there is none."""
        if isinstance(self._client, KubernetesError):
            raise self._client
        return self._client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not isinstance(self._client, KubernetesError):
            await self._client.__aexit__()
