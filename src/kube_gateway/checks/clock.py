"""Whose clock says what: ages are told by the API server's clock, which everybody can ask."""

from __future__ import annotations

import msgspec

from kube_gateway.checks.asking import Refusal, submit
from kube_gateway.kube.client import KubernetesClient, Metadata
from kube_gateway.watcher.objects import seconds

SKEW = 5.0
"""Seconds that two clocks may differ."""


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _ReviewStatus(msgspec.Struct, frozen=True, rename="camel"):
    user_info: _User = _User()


class SelfReview(msgspec.Struct, frozen=True):
    """Who the caller is, and when that was asked (kubernetes.io, 'Authenticating', SelfSubjectReview)."""

    metadata: Metadata = Metadata()
    status: _ReviewStatus = _ReviewStatus()

    @property
    def user(self) -> str:
        """The caller's name."""
        return self.status.user_info.username

    @property
    def time(self) -> float:
        """Seconds since the epoch, by the server's clock and in whole seconds; 0 if it did not say."""
        return seconds(self.metadata.creation_timestamp)


async def self_review(client: KubernetesClient) -> SelfReview | Refusal:
    """Ask. Raises `KubernetesError`."""
    return await submit(client, "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, SelfReview)


async def server_time(client: KubernetesClient, *, otherwise: float) -> float:
    """Seconds since the epoch by the server's clock, or `otherwise` if it does not say. Raises `KubernetesError`."""
    review = await self_review(client)
    return otherwise if isinstance(review, Refusal) or not review.time else review.time
