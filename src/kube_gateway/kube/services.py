"""What is behind the address of a Service, from the Services and EndpointSlices that a watch shows.

The rules are those of kube-proxy: Kubernetes 'Virtual IPs and Service Proxies' (kubernetes.io, reference, networking) and
the EndpointSlice API (discovery.k8s.io/v1). Preferences among endpoints that are all usable (hints, trafficDistribution)
are not followed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from itertools import product
from typing import TypeVar

import msgspec

from kube_gateway.kube.service_objects import EndpointSliceObject, ServiceObject
from kube_gateway.model.service import Backend, ServiceBackends

Destination = tuple[str, int]
"""An address as `canonical_address` spells it, and a TCP port or `ANY_PORT`."""

ANY_PORT = 0
"""In a set of changed destinations: every port of the address."""

HANDLED_BY_KUBE_PROXY = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"
"""Label selector for both kinds of objects; what it leaves out, kube-proxy does not see either."""

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

_DEFAULT_AFFINITY_SECONDS = 10800

_Entry = TypeVar("_Entry", str, Destination)


def canonical_address(address: str) -> str:
    """Return the one spelling of an IP address, IPv4 for an IPv4-mapped one. Raises `ValueError`."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def is_among(changed: set[Destination], address: str, port: int) -> bool:
    """Whether `changed`, as `ServiceDirectory` returns it, holds this port of this canonical address."""
    return (address, port) in changed or (address, ANY_PORT) in changed


class _Service(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a Service. `age` orders Services by creation; `ports` has the name of each TCP port."""

    key: str
    uid: str
    age: tuple[str, int]
    cluster: frozenset[str]
    external: frozenset[str]
    ports: dict[int, str]
    affinity_seconds: int
    node_only: bool


class _Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a slice: usable endpoints as (address, node), and (name, number) of TCP ports."""

    service: str
    version: int
    ready: frozenset[tuple[str, str]]
    last_resort: frozenset[tuple[str, str]]
    ports: tuple[tuple[str, int], ...]


class ServiceDirectory:
    """Answers what is behind an address. Keys are `namespace/name`; objects may come in any order, and repeatedly.

    A ClusterIP is its Service's with all ports. An external address (externalIPs, ingress of a load balancer) may be a
    node's or several Services', so only the ports of Services count there.

    Two Services with the same ClusterIP are seen for a moment when an address is used again; the newer one has it.
    """

    def __init__(self) -> None:
        self._services: dict[str, _Service] = {}
        self._slices: dict[str, _Slice] = {}
        self._cluster: dict[str, set[str]] = {}
        self._external: dict[Destination, set[str]] = {}
        self._slices_of: dict[str, dict[str, _Slice]] = {}
        self._answers: dict[str, dict[tuple[str, int, str | None], ServiceBackends]] = {}
        self._seen = 0

    def service_changed(self, key: str, service: ServiceObject | None) -> set[Destination]:
        """Take in what a Service is now, None when it is gone; returns what may be answered differently from now on."""
        old = self._services.get(key)
        new = None if service is None else self._read_service(key, service, old)
        if old == new:
            return set()
        self._answers.pop(key, None)
        changed: set[Destination] = set()
        if old is not None:
            del self._services[key]
            for address in old.cluster:
                _discard(self._cluster, address, key)
            for destination in product(old.external, old.ports):
                _discard(self._external, destination, key)
            changed.update(_destinations(old))
        if new is not None:
            self._services[key] = new
            for address in new.cluster:
                self._cluster.setdefault(address, set()).add(key)
            for destination in product(new.external, new.ports):
                self._external.setdefault(destination, set()).add(key)
            changed.update(_destinations(new))
        before = old.cluster if old is not None else frozenset()
        after = new.cluster if new is not None else frozenset()
        # Where a ClusterIP gets another owner, also the answers for ports that no Service has change.
        moved = before ^ after if old is None or new is None or old.age == new.age else before | after
        changed.update((address, ANY_PORT) for address in moved)
        return changed

    def slice_changed(self, key: str, endpoint_slice: EndpointSliceObject | None) -> set[Destination]:
        """Take in what a slice is now, None when it is gone; returns what may be answered differently from now on."""
        old = self._slices.get(key)
        new = None if endpoint_slice is None else _read_slice(key, endpoint_slice)
        if old == new:
            return set()
        changed: set[Destination] = set()
        if old is not None:
            del self._slices[key]
            siblings = self._slices_of[old.service]
            del siblings[key]
            if not siblings:
                del self._slices_of[old.service]
            changed.update(self._forget_answers(old))
        if new is not None:
            self._slices[key] = new
            self._slices_of.setdefault(new.service, {})[key] = new
            changed.update(self._forget_answers(new))
        return changed

    def resolve(self, address: str, port: int, *, node: str = "") -> ServiceBackends | None:
        """Return what serves TCP `port` of `address` for clients on `node`; None when the address is no Service's.

        There are no backends when none is ready, or when the ClusterIP has no such port. While none is ready, those that
        terminate but still serve are returned.
        """
        try:
            address = canonical_address(address)
        except ValueError:
            return None
        if keys := self._cluster.get(address):
            service = self._newest(keys)
            node_only = service.node_only
        elif keys := self._external.get((address, port)):
            service = self._newest(keys)
            # The internal traffic policy is for ClusterIPs. To external addresses, pods of the cluster get as if the
            # external policy were Cluster.
            node_only = False
        else:
            return None
        name = service.ports.get(port)
        if name is None:
            return ServiceBackends(service=service.key)
        version = _version(address)
        only_on = node if node_only else None
        answers = self._answers.setdefault(service.key, {})
        answer = answers.get((name, version, only_on))
        if answer is None:
            answer = answers[name, version, only_on] = ServiceBackends(
                service=service.key,
                backends=self._backends(service.key, name, version, only_on),
                affinity_seconds=service.affinity_seconds,
            )
        return answer

    def _backends(self, key: str, name: str, version: int, only_on: str | None) -> tuple[Backend, ...]:
        """Backends behind the port with this name; on one node only unless that is None."""
        ready: set[Destination] = set()
        last_resort: set[Destination] = set()
        for part in self._slices_of.get(key, {}).values():
            for port_name, port in part.ports:
                if part.version == version and port_name == name:
                    ready.update((address, port) for address, node in part.ready if _suits(node, only_on))
                    last_resort.update((address, port) for address, node in part.last_resort if _suits(node, only_on))
        return tuple(Backend(address=address, port=port) for address, port in sorted(ready or last_resort))

    def _newest(self, keys: Iterable[str]) -> _Service:
        return max((self._services[key] for key in keys), key=lambda service: service.age)

    def _read_service(self, key: str, service: ServiceObject, old: _Service | None) -> _Service | None:
        """Return what is to be kept, None for Services without addresses of their own."""
        spec = service.spec
        cluster = _addresses(spec.cluster_ips or (spec.cluster_ip,))
        if spec.type == "ExternalName" or not cluster:
            return None
        external = _addresses(spec.external_ips or ())
        if not spec.load_balancer_source_ranges:
            # With ranges kube-proxy refuses everyone else; it still does so when the address is left to it.
            ingress = service.status.load_balancer.ingress or ()
            external |= _addresses(entry.ip for entry in ingress if entry.ip_mode in {None, "VIP"})
        affinity_seconds = 0
        if spec.session_affinity == "ClientIP":
            config = spec.session_affinity_config
            timeout = config.client_ip.timeout_seconds if config is not None and config.client_ip is not None else None
            affinity_seconds = timeout or _DEFAULT_AFFINITY_SECONDS
        created = service.metadata.creation_timestamp or ""
        if old is not None and old.uid == service.metadata.uid and old.age[0] == created:
            age = old.age
        else:
            # Times have whole seconds; within one, what is seen later is newer.
            self._seen += 1
            age = (created, self._seen)
        return _Service(
            key=key,
            uid=service.metadata.uid,
            age=age,
            cluster=cluster,
            external=external,
            ports={entry.port: entry.name for entry in spec.ports or () if entry.protocol == "TCP"},
            affinity_seconds=affinity_seconds,
            node_only=spec.internal_traffic_policy == "Local",
        )

    def _forget_answers(self, part: _Slice) -> Iterator[Destination]:
        """Drop the answers that a slice contributes to; yields their destinations."""
        self._answers.pop(part.service, None)
        service = self._services.get(part.service)
        if service is None:
            return
        names = {name for name, _ in part.ports}
        for address, port in _destinations(service):
            if _version(address) == part.version and service.ports[port] in names:
                yield address, port


def _read_slice(key: str, endpoint_slice: EndpointSliceObject) -> _Slice | None:
    """Return what is to be kept, None for a slice that is no Service's or has nothing to contribute."""
    name = (endpoint_slice.metadata.labels or {}).get(SERVICE_NAME_LABEL)
    version = {"IPv4": 4, "IPv6": 6}.get(endpoint_slice.address_type)
    if not name or version is None:
        return None
    ready: set[tuple[str, str]] = set()
    last_resort: set[tuple[str, str]] = set()
    for endpoint in endpoint_slice.endpoints or ():
        conditions = endpoint.conditions
        if conditions.ready is not False:
            usable = ready
        elif conditions.terminating and conditions.serving is not False:
            usable = last_resort
        else:
            continue
        usable.update(
            (address, endpoint.node_name or "")
            for address in _addresses((endpoint.addresses or ())[:1])
            if _version(address) == version
        )
    if not ready and not last_resort:
        return None
    return _Slice(
        service=f"{key.partition('/')[0]}/{name}",
        version=version,
        ready=frozenset(ready),
        last_resort=frozenset(last_resort),
        ports=tuple(
            (port.name or "", port.port)
            for port in endpoint_slice.ports or ()
            if port.port and (port.protocol or "TCP") == "TCP"
        ),
    )


def _addresses(texts: Iterable[str]) -> frozenset[str]:
    """Those of `texts` that are IP addresses; a clusterIP of `None` or nothing is none."""
    addresses = set()
    for text in texts:
        try:
            addresses.add(canonical_address(text))
        except ValueError:
            continue
    return frozenset(addresses)


def _version(address: str) -> int:
    """4 or 6, for a canonical address."""
    return 6 if ":" in address else 4


def _suits(node: str, only_on: str | None) -> bool:
    # A client whose node is unknown has no endpoint in common with those whose node is.
    return only_on is None or (node == only_on and node != "")


def _destinations(service: _Service) -> Iterator[Destination]:
    return product(service.cluster | service.external, service.ports)


def _discard(index: dict[_Entry, set[str]], entry: _Entry, key: str) -> None:
    index[entry].discard(key)
    if not index[entry]:
        del index[entry]
