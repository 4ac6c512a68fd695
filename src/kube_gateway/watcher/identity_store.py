"""Where a cluster keeps its roots and its revocations: a Secret and a ConfigMap in the watcher's namespace.

Revocations are apart from the Secret, so that whoever may revoke a pod need not see a key. Both are written only by whoever
has read the last state of them.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.identity.revocation import Revocations
from kube_gateway.identity.roots import Roots
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import NotFound
from kube_gateway.watcher.authority_data import parse_roots, written
from kube_gateway.watcher.configuration import AUTHORITY_SECRET

REVOCATIONS_MAP = "kube-gateway-revoked"
REVOCATIONS_KEY = "revoked"


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    data: dict[str, str] | None = None


class StoredRoots(msgspec.Struct, frozen=True, kw_only=True):
    """The roots, and the version of the Secret that they were read from."""

    roots: Roots
    version: str


class StoredRevocations(msgspec.Struct, frozen=True, kw_only=True):
    """The revocations, and the version of the ConfigMap; None while nobody has written any into it."""

    revocations: Revocations | None
    version: str


class IdentityStore:
    """Reads and writes them. Everything raises `KubernetesError`; `Conflict` when another was faster."""

    def __init__(self, client: KubernetesClient, *, namespace: str, trust_domain: str | None = None) -> None:
        self._client = client
        self._trust_domain = trust_domain
        self._secret = f"/api/v1/namespaces/{namespace}/secrets/{AUTHORITY_SECRET}"
        self._map = f"/api/v1/namespaces/{namespace}/configmaps/{REVOCATIONS_MAP}"
        self._namespace = namespace

    async def roots(self) -> StoredRoots:
        """Read the roots. Raises `IdentityError` when they are not there, or not sound."""
        where = f"the Secret {self._namespace}/{AUTHORITY_SECRET}"
        hint = "kube-gateway ca create && kube-gateway ca load"
        try:
            found = await self._client.get(self._secret, _Object)
        except NotFound:
            raise IdentityError(f"there is no certificate authority: {where} is missing", hint=hint) from None
        try:
            data = {key: base64.b64decode(value, validate=True) for key, value in (found.data or {}).items()}
            roots = parse_roots(data, trust_domain=self._trust_domain)
        except binascii.Error:
            raise IdentityError(f"{where} is not base64") from None
        except KeyError as error:
            raise IdentityError(f"{where} has no {error.args[0]}", hint=hint) from None
        return StoredRoots(roots=roots, version=found.metadata.resource_version)

    async def write_roots(self, roots: Roots, *, version: str) -> None:
        """Write the roots over those of `version`."""
        values = written(roots)
        data = {
            key: base64.b64encode(value.encode()).decode() if value is not None else None
            for key, value in values.items()
        }
        await self._client.patch(self._secret, {"metadata": {"resourceVersion": version}, "data": data}, kind="merge")

    async def revocations(self) -> StoredRevocations:
        """Read the revocations. Raises `IdentityError` when they are not understood, or when their ConfigMap is missing.

        It is part of the manifest, so where it is missing somebody has deleted it: nobody is taken back by mistake.
        """
        where = f"the ConfigMap {self._namespace}/{REVOCATIONS_MAP}"
        try:
            found = await self._client.get(self._map, _Object)
        except NotFound:
            raise IdentityError(
                f"{where} is missing, and with it who is revoked",
                hint=f"kubectl -n {self._namespace} create configmap {REVOCATIONS_MAP}",
            ) from None
        text = (found.data or {}).get(REVOCATIONS_KEY)
        try:
            revocations = msgspec.json.decode(text, type=Revocations) if text is not None else None
        except msgspec.DecodeError as error:
            raise IdentityError(
                f"{where} is not understood: {error}", hint="what was revoked before stays so"
            ) from None
        return StoredRevocations(revocations=revocations, version=found.metadata.resource_version)

    async def write_revocations(self, revocations: Revocations, *, version: str) -> None:
        """Write the revocations over those of `version`."""
        data = {REVOCATIONS_KEY: msgspec.json.encode(revocations).decode()}
        await self._client.patch(self._map, {"metadata": {"resourceVersion": version}, "data": data}, kind="merge")
