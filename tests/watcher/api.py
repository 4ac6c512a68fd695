"""An API server in memory, with what the watcher relies on: watches, patches that name a uid, refusals, ownership.

It answers as a real one (1.34) does; the messages were taken down from one. It can be made to fail, to answer and then lose
the answer, to forget its history, and to break its watches.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import re

import httpx2

from kube_gateway.kube.client import KubernetesClient

DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAMES = re.compile(
    r"/api(s/[-a-z0-9.]+)?/v1(?:alpha1)?(/namespaces/(?P<namespace>[^/]+))?/(?P<kind>[a-z]+)(/(?P<name>[^/]+))?(/(?P<part>[a-z]+))?"
)
WATCHED = ("pods", "namespaces", "services", "endpointslices", "configmaps", "gatewaypolicies")

Answer = tuple[int, dict]


def status(code, reason, message):
    return code, {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}


class Lost(Exception):
    """What was asked is done, and the answer does not arrive."""


class Api(httpx2.AsyncBaseTransport):
    """Objects by kind and key; `writes` are all that were asked for, as (verb, path), `done` those not refused.

    `faults` are taken one for each write: `None` for none, `lost`, `timeout`, or a status. `on_added(pod, container)` is
    told of each new container, before it is there. `read` is what was listed or watched, as (kind, namespace, field
    selector); `forbidden` are kinds that may not be, `missing` those that the server does not know.
    """

    def __init__(self, on_added=lambda pod, container: None):
        self.version = 10
        self.oldest = 0
        self.objects = {kind: {} for kind in (*WATCHED, "secrets", "leases")}
        self.events = []
        self.writes = []
        self.done = []
        self.faults = []
        self.reading_fails = False
        self.forbidden = set()
        self.missing = {"gatewaypolicies"}
        self.read = []
        self.history = {kind: [] for kind in WATCHED}
        self.changed = asyncio.Event()
        self.cuts = 0
        self.on_added = on_added
        self._uids = itertools.count(1)

    def client(self):
        return KubernetesClient(
            httpx2.AsyncClient(transport=self, base_url="http://api", timeout=None), request_timeout=5.0
        )

    # What others do.

    def put(self, kind, body):
        """Make or change an object; returns it."""
        meta = body["metadata"]
        key = _key(meta)
        known = self.objects[kind].get(key)
        meta.setdefault("uid", known["metadata"]["uid"] if known else f"uid-{next(self._uids)}")
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self.objects[kind][key] = body
        self._tell(kind, "MODIFIED" if known else "ADDED", body)
        return body

    def change(self, kind, key, change):
        body = copy.deepcopy(self.objects[kind][key])
        change(body)
        if body != self.objects[kind][key]:
            self.put(kind, body)

    def remove(self, kind, key):
        body = copy.deepcopy(self.objects[kind].pop(key))
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self._tell(kind, "DELETED", body)
        self.collect_garbage()
        return body

    def collect_garbage(self):
        """Remove what belongs to pods that are gone."""
        uids = {pod["metadata"]["uid"] for pod in self.objects["pods"].values()}
        for name, secret in list(self.objects["secrets"].items()):
            owners = secret["metadata"].get("ownerReferences")
            if owners is not None and not uids & {owner["uid"] for owner in owners}:
                del self.objects["secrets"][name]

    def compact(self):
        """Forget the history, so that what happened since a watch ended is never told."""
        self.oldest = self.version
        self.history = {kind: [] for kind in WATCHED}
        self.cut()

    def cut(self):
        """Break all watches."""
        self.cuts += 1
        self._wake()

    def _tell(self, kind, event, body):
        if kind in self.history:
            line = json.dumps({"type": event, "object": body}).encode() + b"\n"
            self.history[kind].append((self.version, line))
            self._wake()

    def _wake(self):
        self.changed.set()
        self.changed = asyncio.Event()

    # What the watcher asks.

    async def handle_async_request(self, request):
        path, query = request.url.path, dict(request.url.params)
        match = NAMES.fullmatch(path)
        assert match, path
        if request.method == "GET" and match["kind"] in WATCHED and not match["name"]:
            if self.reading_fails:
                raise httpx2.ConnectError("Connection refused")
            await asyncio.sleep(0)
            if match["kind"] in self.missing:
                return httpx2.Response(404, json=status(404, "NotFound", "could not find the requested resource")[1])
            self.read.append((match["kind"], match["namespace"], query.get("fieldSelector")))
            if match["kind"] in self.forbidden:
                return httpx2.Response(403, json=status(403, "Forbidden", f"{match['kind']} is forbidden")[1])
            wanted = _selector(match["namespace"], query.get("fieldSelector", ""))
            return self._watch(match["kind"], query, wanted) if "watch" in query else self._list(match["kind"], wanted)
        return await self._one(request, match)

    def _list(self, kind, wanted):
        found = [body for body in self.objects[kind].values() if wanted(body)]
        body = {"metadata": {"resourceVersion": str(self.version)}, "items": found or None}
        return httpx2.Response(200, json=body)

    def _watch(self, kind, query, wanted):
        since = int(query["resourceVersion"])
        if since < self.oldest:
            return httpx2.Response(410, json=status(410, "Expired", "too old resource version")[1])
        return httpx2.Response(200, stream=_Watch(self, kind, since, wanted))

    async def _one(self, request, match):
        body = json.loads(await request.aread() or b"null")
        fault = self.faults.pop(0) if self.faults and request.method != "GET" else None
        await asyncio.sleep(0)
        if fault == "timeout":
            raise httpx2.ReadTimeout("")
        if isinstance(fault, int):
            code, answer = status(fault, "Fault", "it does not work just now")
        elif request.method == "GET" and match["kind"] in self.forbidden:
            code, answer = status(403, "Forbidden", f"{match['kind']} is forbidden")
        else:
            code, answer = self._do(request.method, match, body)
        if request.method != "GET":
            self.writes.append((request.method, request.url.path))
            if code < 400:
                self.done.append((request.method, request.url.path))
        if fault == "lost":
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response")
        await asyncio.sleep(0)
        return httpx2.Response(code, json=answer)

    def _do(self, method, match, body):
        kind, part = match["kind"], match["part"]
        key = "/".join(filter(None, (match["namespace"], match["name"])))
        if method == "POST":
            return self._create(kind, match["namespace"], body)
        known = self.objects[kind].get(key)
        if method == "PATCH" and known is not None and kind in ("secrets", "configmaps") and "apiVersion" not in body:
            return self._merge(kind, known, body)
        if kind == "secrets" and method == "PATCH":
            assert DNS.fullmatch(match["name"]) and len(match["name"]) <= 253
            return 200, self.put(kind, body)
        if known is None:
            return status(404, "NotFound", f'{kind} "{match["name"]}" not found')
        match method, kind, part:
            case "PATCH", "configmaps", _:
                return 200, self.put(kind, body)
            case "GET", _, _:
                return 200, known
            case "DELETE", _, _:
                del self.objects[kind][key]
                return 200, {}
            case "PUT", "leases", _:
                if body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
                    return status(409, "Conflict", "the object has been modified")
                return 200, self.put(kind, body)
            case "PATCH", "pods", "ephemeralcontainers":
                return self._add(key, known, body)
            case "PATCH", "pods", "status":
                return self._condition(key, known, body)
            case "PATCH", "gatewaypolicies", "status":
                return 200, self.put(kind, {**known, **body})
        raise AssertionError((method, kind, part))

    def _merge(self, kind, known, body):
        version = body.get("metadata", {}).get("resourceVersion", known["metadata"]["resourceVersion"])
        if version != known["metadata"]["resourceVersion"]:
            return status(409, "Conflict", "the object has been modified")
        data = {**(known.get("data") or {}), **body["data"]}
        data = {key: value for key, value in data.items() if value is not None}
        return 200, self.put(kind, {**known, "metadata": dict(known["metadata"]), "data": data})

    def _create(self, kind, namespace, body):
        if kind == "events":
            problem = _wrong_with_event(body)
            if problem:
                return status(422, "Invalid", problem)
            self.events.append(body)
            return 201, body
        key = _key(body["metadata"])
        if key in self.objects[kind]:
            return status(409, "AlreadyExists", "it exists")
        return 201, self.put(kind, body)

    def _add(self, key, known, body):
        name = known["metadata"]["name"]
        if problem := _other_uid(known, body):
            return problem
        namespace = self.objects["namespaces"].get(known["metadata"]["namespace"], {})
        level = namespace.get("metadata", {}).get("labels", {}).get("pod-security.kubernetes.io/enforce", "privileged")
        changed = copy.deepcopy(known)
        containers = changed["spec"].setdefault("ephemeralContainers", [])
        for container in body["spec"]["ephemeralContainers"]:
            there = next((one for one in containers if one["name"] == container["name"]), None)
            if there == container:
                continue
            if level != "privileged":
                return status(
                    403,
                    "Forbidden",
                    f'pods "{name}" is forbidden: violates PodSecurity "{level}:latest": non-default '
                    'capabilities (container "kube-gateway" must not include "BPF", "DAC_READ_SEARCH", "NET_ADMIN" in '
                    "securityContext.capabilities.add)",
                )
            if there is not None:
                return status(
                    422,
                    "Invalid",
                    f'Pod "{name}" is invalid: spec.ephemeralContainers: Forbidden: existing ephemeral '
                    f'containers "{container["name"]}" may not be changed\n@@ -1,6 +1,6 @@\n',
                )
            self.on_added(changed, container)
            containers.append(container)
        if changed != known:
            self.put("pods", changed)
        return 200, changed

    def _condition(self, key, known, body):
        if problem := _other_uid(known, body):
            return problem
        changed = copy.deepcopy(known)
        conditions = changed["status"].setdefault("conditions", [])
        for condition in body["status"]["conditions"]:
            conditions[:] = [one for one in conditions if one["type"] != condition["type"]] + [condition]
        if changed != known:
            self.put("pods", changed)
        return 200, changed


class _Watch(httpx2.AsyncByteStream):
    def __init__(self, api, kind, since, wanted):
        self._api, self._kind, self._since, self._cuts, self._wanted = api, kind, since, api.cuts, wanted

    async def __aiter__(self):
        while True:
            changed = self._api.changed
            for version, line in self._api.history[self._kind]:
                if version > self._since:
                    self._since = version
                    if self._wanted(json.loads(line)["object"]):
                        yield line
            if self._api.cuts > self._cuts:
                raise httpx2.ReadError("Connection reset by peer")
            await changed.wait()


def _selector(namespace, fields):
    name = fields.removeprefix("metadata.name=")

    def wanted(body):
        meta = body["metadata"]
        return namespace in (None, meta.get("namespace")) and name in ("", meta["name"])

    return wanted


def _key(meta):
    return "/".join(filter(None, (meta.get("namespace"), meta["name"])))


def _other_uid(known, body):
    uid = body["metadata"].get("uid")
    if uid in (None, known["metadata"]["uid"]):
        return None
    return status(
        422,
        "Invalid",
        f'Pod "{known["metadata"]["name"]}" is invalid: metadata.uid: Invalid value: "{uid}": field is immutable',
    )


def _wrong_with_event(body):
    """What Kubernetes' ValidateEventCreate would say (pkg/apis/core/validation/events.go)."""
    if len(body["note"].encode()) > 1024:
        return "note: can have at most 1024 characters"
    if not DNS.fullmatch(body["metadata"]["name"]) or len(body["metadata"]["name"]) > 253:
        return "metadata.name: Invalid value"
    if len(body["reportingInstance"]) > 128 or not body["reportingInstance"]:
        return "reportingInstance: can have at most 128 characters"
    if not body["reason"] or not body["action"] or body["type"] not in ("Normal", "Warning"):
        return "reason: Required value"
    return None
