"""The certificate authority in the cluster: the Secret `watcher`, keys `ca-cert` and `ca-key`."""

from __future__ import annotations

import base64

import msgspec

from kube_gateway.errors import IdentityError
from kube_gateway.identity.authority import Authority
from kube_gateway.kube.client import KubernetesClient
from kube_gateway.kube.refusals import Conflict, NotFound
from kube_gateway.watcher.authority_data import NEXT_CERTIFICATE_KEY, NEXT_PRIVATE_KEY_KEY, ROTATION_KEY
from kube_gateway.watcher.configuration import AUTHORITY_SECRET, CERTIFICATE_KEY, PRIVATE_KEY_KEY


class SecretObject(msgspec.Struct, frozen=True):
    """A Secret, or what has no data; values are base64."""

    data: dict[str, str] = {}


async def put_authority(client: KubernetesClient, authority: Authority, *, namespace: str, replace: bool) -> str:
    """Write the Secret, and the namespace if it is missing; returns what was done, in words.

    Raises `IdentityError` when another authority is there and shall not be replaced, and `KubernetesError`.
    """
    await _make_namespace(client, namespace)
    collection = f"/api/v1/namespaces/{namespace}/secrets"
    path = f"{collection}/{AUTHORITY_SECRET}"
    wanted = {
        CERTIFICATE_KEY: _encoded(authority.certificate_pem),
        PRIVATE_KEY_KEY: _encoded(authority.key_pem),
    }
    # A rotation that is under way is of roots that would be gone.
    at_rest = dict.fromkeys((NEXT_CERTIFICATE_KEY, NEXT_PRIVATE_KEY_KEY, ROTATION_KEY))
    where = f"Secret {namespace}/{AUTHORITY_SECRET}"
    body = {"metadata": {"name": AUTHORITY_SECRET, "namespace": namespace}, "type": "Opaque", "data": wanted}
    try:
        await client.create(collection, body)
    except Conflict:
        found = (await client.get(path, SecretObject)).data
        if found.get(CERTIFICATE_KEY) == wanted[CERTIFICATE_KEY] and not (replace and at_rest.keys() & found.keys()):
            return f"{where} has this authority already"
        if not replace:
            raise IdentityError(
                f"{where} has another authority, and replacing it at once breaks connections",
                hint="kube-gateway ca rotate replaces it step by step; --replace is for a root that others have the key of",
            ) from None
        await client.patch(path, {"data": {**wanted, **at_rest}}, kind="merge")
        return f"{where} is replaced"
    return f"{where} is made"


async def _make_namespace(client: KubernetesClient, namespace: str) -> None:
    try:
        await client.get(f"/api/v1/namespaces/{namespace}", SecretObject)
    except NotFound:
        await client.create("/api/v1/namespaces", {"metadata": {"name": namespace}})


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
