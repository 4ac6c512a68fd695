"""A GatewayPolicy as its author writes it: the same in a cluster (a custom resource) and in a file."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from kube_gateway.model.authorization import Effect

API_VERSION = "kube-gateway.io/v1alpha1"
KIND = "GatewayPolicy"

_Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9*]([-a-z0-9.*]{0,251}[a-z0-9*])?\Z")]
_Identity = Annotated[str, msgspec.Meta(pattern=r"^spiffe://[!-~]{1,504}\Z")]
_Port = (
    Annotated[int, msgspec.Meta(ge=1, le=65535)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,5}(-[0-9]{1,5})?\Z")]
)


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"):
    pass


class Peer(_Part, frozen=True, kw_only=True):
    """Workloads: by a pattern of their SPIFFE ids, or by namespace, service account or both (patterns as well).

    A service account without a namespace is one of the policy's own. `anyone` is everybody, also who proves nothing: it has
    to be said, as a rule in which somebody has left out whom it is about must not open a port.
    """

    anyone: bool = False

    identity: _Identity | UnsetType = UNSET
    namespace: _Name | UnsetType = UNSET
    service_account: _Name | UnsetType = UNSET


class Rule(_Part, frozen=True, kw_only=True):
    """Without `ports` it is about all of them."""

    action: Effect = "allow"
    peers: Annotated[tuple[Peer, ...], msgspec.Meta(min_length=1, max_length=64)] = msgspec.field(name="from")
    ports: Annotated[tuple[_Port, ...], msgspec.Meta(min_length=1, max_length=64)] | UnsetType = UNSET


class Requirement(_Part, frozen=True, kw_only=True):
    """One of `matchExpressions`, as Kubernetes has them."""

    key: Annotated[str, msgspec.Meta(min_length=1, max_length=317)]
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = ()


class Selector(_Part, frozen=True, kw_only=True):
    """Pods of the policy's namespace by their labels; an empty one selects all."""

    match_labels: dict[str, str] = {}
    match_expressions: Annotated[tuple[Requirement, ...], msgspec.Meta(max_length=16)] = ()


class PolicySpec(_Part, frozen=True, kw_only=True):
    """`default` is what becomes of connections to the selected pods that no rule is about.

    With `dry_run` nothing is denied, and what would be is counted.
    """

    selector: Selector
    default: Effect = "allow"
    dry_run: bool = False
    rules: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=64)] = ()


class GatewayPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One policy with its place."""

    namespace: str
    name: str
    spec: PolicySpec

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"
