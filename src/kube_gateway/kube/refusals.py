"""How the API server refuses, as exceptions: one for each refusal that callers tell apart, and words for people.

Source: Kubernetes API conventions, 'Response Status Kind' and 'HTTP Status codes'.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
import msgspec

from kube_gateway.errors import KubeGatewayError


class KubernetesError(KubeGatewayError):
    """The API server refused, or could not be asked: `status` is HTTP's (0: no answer), `reason` that of its Status."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        retry_after: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after


class Forbidden(KubernetesError):
    """403: the rights are missing (RBAC), or an admission plugin said no."""


class NotFound(KubernetesError):
    """404: there is no such object, or no such kind of object."""


class Conflict(KubernetesError):
    """409: the object has changed since it was read, or exists already."""


class Gone(KubernetesError):
    """410: the resourceVersion or continue token is older than the server's history."""


class Invalid(KubernetesError):
    """422: the server understood the object and found a value wrong."""


class Unreachable(KubernetesError):
    """No answer: no connection, broken, refused by TLS, or not in time."""


_BY_STATUS: Mapping[int, type[KubernetesError]] = {
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
}


class _StatusDetails(msgspec.Struct, rename="camel"):
    retry_after_seconds: float | None = None


class _Status(msgspec.Struct):
    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _StatusDetails | None = None


def rule_for(path: str, *verbs: str) -> str:
    """The rule of a Role or ClusterRole that allows `verbs` on `path` (kubernetes.io, 'Using RBAC Authorization')."""
    _, api, *rest = path.split("/")
    parts = rest[1:] if api == "api" else rest[2:]
    if api not in ("api", "apis") or not parts:
        return msgspec.json.encode({"nonResourceURLs": [path], "verbs": verbs}).decode()
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    group = "" if api == "api" else rest[0]
    resource = "/".join([parts[0], *parts[2:]])
    return msgspec.json.encode({"apiGroups": [group], "resources": [resource], "verbs": verbs}).decode()


def refusal(body: bytes, *, what: str, response: httpx2.Response | None = None) -> KubernetesError:
    """The error for an answer that is none of 2xx, or for an ERROR event, whose Status has the code."""
    try:
        answer = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        # Of a proxy or load balancer in between, mostly.
        answer = _Status(message=body[:200].decode(errors="replace").strip())
    status = response.status_code if response is not None else answer.code or 500
    said = answer.message or (response.reason_phrase if response is not None else "") or "no explanation"
    retry_after = answer.details.retry_after_seconds if answer.details else None
    if response is not None and response.headers.get("Retry-After", "").isdecimal():
        retry_after = float(response.headers["Retry-After"])
    verb, path = what.split(" ", 1)
    hint = None
    if status == 401:
        hint = "the credentials are not, or no longer, accepted: log in again, or look at the service account's token"
    elif status == 403:
        hint = f"unless an admission plugin said no, this rule is missing: {rule_for(path, verb)}"
    return _BY_STATUS.get(status, KubernetesError)(
        f"{what}: {said} ({status}{' ' + answer.reason if answer.reason else ''})",
        status=status,
        reason=answer.reason or "",
        retry_after=retry_after,
        hint=hint,
    )
