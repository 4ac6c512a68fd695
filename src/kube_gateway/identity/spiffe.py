"""SPIFFE ids of Kubernetes workloads, in the form that Istio and cert-manager use, so that their peers can verify ours.

Source: SPIFFE-ID specification, section 2.
"""

from __future__ import annotations

import re

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.model.pod import Pod

DEFAULT_TRUST_DOMAIN = "cluster.local"

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,253}")


class SpiffeId(msgspec.Struct, frozen=True, kw_only=True):
    """`spiffe://<trust domain>/ns/<namespace>/sa/<service account>`; `str()` gives that text."""

    trust_domain: str
    namespace: str
    service_account: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        for segment in (self.namespace, self.service_account):
            if not _SEGMENT.fullmatch(segment) or segment in {".", ".."}:
                raise IdentityError(f"{segment!r} cannot be part of a SPIFFE id")

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def check_trust_domain(name: str) -> None:
    """Raise `IdentityError` unless `name` can be a trust domain."""
    if not _TRUST_DOMAIN.fullmatch(name):
        raise IdentityError(
            f"{name!r} is not a trust domain", hint="use lower-case letters, digits, dots, dashes and underscores"
        )


def spiffe_id_of(pod: Pod, *, trust_domain: str) -> SpiffeId:
    """Return the id of `pod`. Raises `IdentityError` when its names cannot be part of one."""
    return SpiffeId(trust_domain=trust_domain, namespace=pod.namespace, service_account=pod.service_account)
