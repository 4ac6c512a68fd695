"""Speaks to the Kubernetes API: get, list, watch and the writing verbs, for the few fields of objects that we need.

Full client libraries build every object with all its fields: with thousands of pods most of the watcher's time and memory
would go there. Here the caller brings small structs, and JSON is decoded into them directly. How the server is found and
how we prove who we are (kubeconfig, service account, exec plugins, client certificates) is lightkube's part, and only that.

Nothing is tried twice here: only the caller knows whether the question is still worth asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, Literal, Protocol, Self, TypeVar

import httpx2
import msgspec

from kube_gateway.kube.refusals import Gone, KubernetesError, Unreachable, refusal

REQUEST_TIMEOUT = 10.0
"""Seconds for one request, from connecting to the last byte of the answer."""

FIELD_MANAGER = "kube-gateway"
"""Our name in managedFields, so that others see which fields are ours."""

_PAGE = "500"
_METHODS = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
"""HTTP's words for the verbs, which are those of RBAC."""
_UNREACHABLE_HINT = "see that the API server runs, and that its address and authority in the configuration are right"
_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
"""Server-side apply says YAML, of which JSON is a part."""

T = TypeVar("T")
"""What the caller wants an object decoded into."""


class Metadata(msgspec.Struct, rename="camel", frozen=True, kw_only=True, omit_defaults=True):
    """Who an object is. All has a default: the object of a bookmark has a resourceVersion and nothing else."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class _HasVersion(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class KubernetesObject(Protocol):
    """What any struct for objects that are watched must have."""

    @property
    def metadata(self) -> _HasVersion:
        """Who it is."""


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """All objects of a collection as they were at `resource_version`, where a watch can begin."""

    items: tuple[T, ...]
    resource_version: str


class Event(msgspec.Struct, Generic[T], frozen=True):
    """One line of a watch. A bookmark's object has only a resourceVersion."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: T


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str | None = msgspec.field(default=None, name="continue")


class _Page(msgspec.Struct, Generic[T]):
    metadata: _ListMetadata
    items: tuple[T, ...] | None = None  # Go writes an empty list as null


class _Line(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class KubernetesClient:
    """One API server, as one user. `async with` closes the connections.

    Every verb raises `KubernetesError`, mostly one of its subclasses, and nothing else.
    Paths and their meaning: kubernetes.io, reference, 'Kubernetes API Concepts'.
    """

    def __init__(
        self, http: httpx2.AsyncClient, *, namespace: str = "default", request_timeout: float = REQUEST_TIMEOUT
    ) -> None:
        self._http = http
        self.namespace = namespace
        self.request_timeout = request_timeout

    @classmethod
    def connect(cls, *, kubeconfig: Path | None = None, context: str | None = None) -> Self:
        """Find the cluster: this file, else the pod's service account, else $KUBECONFIG, else ~/.kube/config.

        Nothing is sent yet. Raises `KubernetesError` when there is no configuration or it cannot be used.
        """
        # Imported on use: it takes a quarter of a second, and a command line must start at once.
        from lightkube.config.client_adapter import ConnectionParams  # noqa: PLC0415
        from lightkube.config.kubeconfig import KubeConfig  # noqa: PLC0415
        from lightkube.config.models import User  # noqa: PLC0415

        where = str(kubeconfig) if kubeconfig else "the service account, $KUBECONFIG or ~/.kube/config"
        try:
            configuration = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
            chosen = configuration.get(context)
            assert chosen is not None  # noqa: S101 - only with a default, which we do not give
            # A proxy such as kubectl's needs no user, but lightkube insists on one.
            chosen = chosen._replace(user=chosen.user or User())
            parameters = ConnectionParams(timeout=httpx2.Timeout(None)).httpx_params(chosen)
            # Each watch has a connection for itself, and one that waits for a free connection would wait for ever.
            http = httpx2.AsyncClient(**parameters, limits=httpx2.Limits(max_connections=None))
        except Exception as error:  # what yaml, msgspec, ssl and the dictionaries inside raise is let through
            raise KubernetesError(
                f"no cluster to connect to from {where}: {_why(error)}",
                reason="Configuration",
                hint="see that `kubectl cluster-info` works, or name a file and one of its contexts",
            ) from error
        http.headers["User-Agent"] = FIELD_MANAGER
        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it writes a line for each request
        return cls(http, namespace=chosen.namespace.strip())

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return str(self._http.base_url).rstrip("/")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, item: type[T]) -> T:
        """Read one object."""
        answer = await self._request("get", path)
        return decode(answer, item, what=f"get {path}")

    async def list(self, path: str, item: type[T], *, parameters: Mapping[str, str] | None = None) -> Listing[T]:
        """Read a whole collection, page by page.

        When the server forgets the list's version between two pages, it is read again in one piece.
        """
        query = {**(parameters or {}), "limit": _PAGE}
        page_type: type[_Page[T]] = _Page[item]  # type: ignore[valid-type]
        items: tuple[T, ...] = ()
        version = ""
        while True:
            try:
                page = decode(await self._request("list", path, parameters=query), page_type, what=f"list {path}")
            except Gone:
                if "continue" not in query:
                    raise
                items, version, query = (), "", dict(parameters or {})
                continue
            items += page.items or ()
            version = version or page.metadata.resource_version
            if not page.metadata.continue_:
                return Listing(items, version)
            # The token says at which version; the server refuses to be told twice.
            query = {name: value for name, value in query.items() if not name.startswith("resourceVersion")}
            query["continue"] = page.metadata.continue_

    async def watch(
        self,
        path: str,
        item: type[T],
        *,
        resource_version: str,
        timeout: float = 300.0,  # noqa: ASYNC109 - asked of the server
        idle: float = 70.0,
        parameters: Mapping[str, str] | None = None,
        heard: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Event[T], None]:
        """Yield what changes after `resource_version`, until the server ends it, which it does after `timeout` seconds.

        `heard` is called whenever the server says something, first when it accepts the watch. Close the generator
        (`contextlib.aclosing`) when leaving early. Raises `Gone` when the version is too old, and `Unreachable` when the
        stream breaks or is silent for `idle` seconds: bookmarks come about once a minute, so that is suspicious.
        """
        query = {
            **(parameters or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(timeout))),
        }
        decoder = msgspec.json.Decoder(item)
        what = f"watch {path}"
        with _said_plainly(what):
            request = self._http.build_request("GET", path, params=query, timeout=httpx2.Timeout(None, read=idle))
            async with asyncio.timeout(self.request_timeout):
                response = await self._send(request, what=what, stream=True)
            try:
                if not response.is_success:
                    async with asyncio.timeout(self.request_timeout):
                        raise refusal(await response.aread(), what=what, response=response)
                async with contextlib.aclosing(_lines(response, heard or (lambda: None))) as lines:
                    async for line in lines:
                        yield _event(line, decoder, what=what)
            finally:
                await response.aclose()

    async def create(self, path: str, body: object) -> bytes:
        """Make an object in the collection `path`; returns it as the server has it. Raises `Conflict` if it exists."""
        return await self._request("create", path, body=body)

    async def replace(self, path: str, body: object) -> bytes:
        """Put `body` in place of the object; `Conflict` if it has another resourceVersion by now."""
        return await self._request("update", path, body=body)

    async def patch(
        self,
        path: str,
        body: object,
        *,
        kind: Literal["merge", "strategic", "json", "apply"],
        parameters: Mapping[str, str] | None = None,
    ) -> bytes:
        """Change parts of an object. `apply` (server-side apply) takes over fields that others own."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"} if kind == "apply" else {}
        query.update(parameters or {})
        return await self._request("patch", path, body=body, content_type=_PATCH_TYPES[kind], parameters=query)

    async def delete(self, path: str, *, body: object = None) -> None:
        """Remove an object; `body` may be DeleteOptions (with preconditions, say)."""
        await self._request("delete", path, body=body)

    async def _request(
        self,
        verb: str,
        path: str,
        *,
        body: object = None,
        content_type: str = "application/json",
        parameters: Mapping[str, str] | None = None,
    ) -> bytes:
        what = f"{verb} {path}"
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": content_type}
        request = self._http.build_request(_METHODS[verb], path, content=content, headers=headers, params=parameters)
        with _said_plainly(what):
            async with asyncio.timeout(self.request_timeout):
                response = await self._send(request, what=what, stream=False)
        if not response.is_success:
            raise refusal(response.content, what=what, response=response)
        return response.content

    async def _send(self, request: httpx2.Request, *, what: str, stream: bool) -> httpx2.Response:
        try:
            return await self._http.send(request, stream=stream)
        except _credential_errors() as error:
            hint = "see that `kubectl cluster-info` works for the same user"
            raise KubernetesError(f"{what}: no credentials: {_why(error)}", reason="Credentials", hint=hint) from error


async def _lines(response: httpx2.Response, heard: Callable[[], None]) -> AsyncGenerator[bytes, None]:
    """Cut the stream at its newlines. (httpx2's own also cuts at U+2028 and the like, which JSON may contain.)"""
    heard()
    begun: list[bytes] = []
    async for chunk in response.aiter_bytes():
        heard()
        first, *others = chunk.split(b"\n")
        begun.append(first)
        for other in others:
            if line := b"".join(begun):
                yield line
            begun = [other]
    if any(begun):
        raise httpx2.RemoteProtocolError("the stream ended in the middle of an event")


def _event(line: bytes, decoder: msgspec.json.Decoder[T], *, what: str) -> Event[T]:
    head = decode(line, _Line, what=what)
    if head.type == "ERROR":
        raise refusal(bytes(head.object), what=what)
    try:
        return Event(head.type, decoder.decode(head.object))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _undecodable(what, error) from error


def decode(answer: bytes, item: type[T], *, what: str) -> T:
    """Read an answer; `what` was asked ('create /api/...'), for the message of the `KubernetesError` it raises."""
    try:
        return msgspec.json.decode(answer, type=item)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _undecodable(what, error) from error


def _undecodable(what: str, error: Exception) -> KubernetesError:
    message = f"{what}: what came back is not understood ({error})"
    return KubernetesError(message, status=200, reason="Undecodable", hint="is this really a Kubernetes API server?")


def _credential_errors() -> tuple[type[Exception], ...]:
    """What an exec plugin or a token file may raise: lightkube lets through what json and the dictionaries do."""
    from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - see `connect`

    return ConfigError, LookupError, TypeError, ValueError


@contextlib.contextmanager
def _said_plainly(what: str) -> Iterator[None]:
    """Turn what connections and credentials may raise into ours."""
    try:
        yield
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise Unreachable(f"{what}: no answer in time", reason="Timeout", hint=_UNREACHABLE_HINT) from error
    except (httpx2.HTTPError, httpx2.StreamError, OSError) as error:
        raise Unreachable(f"{what}: {_why(error)}", reason="Connection", hint=_UNREACHABLE_HINT) from error


def _why(error: BaseException) -> str:
    """What the innermost error says: those around it only say that all attempts failed."""
    inner: object = error.args[0] if error.args else None
    if isinstance(error, BaseExceptionGroup):
        inner = error.exceptions[0]
    elif not isinstance(inner, BaseException) and (isinstance(error, OSError | httpx2.HTTPError) or not str(error)):
        inner = error.__cause__
    if isinstance(inner, BaseException):
        return _why(inner)
    said = str(error)
    if said and not isinstance(error, LookupError | TypeError | AttributeError):
        return said
    return f"{type(error).__name__} {said}".strip()  # what these say is but a word without sense
