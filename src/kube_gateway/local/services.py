"""Services of the local mode: an address that nothing routes, with pods behind it, as a ClusterIP is in a cluster.

Gateways alone know what it stands for, so only pods that have one can connect to it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import msgspec

from kube_gateway.errors import LocalModeError, UsageError
from kube_gateway.local.files import write_whole
from kube_gateway.local.instance import Instance, check_pod_name
from kube_gateway.local.network import SUBNETS
from kube_gateway.model.service import Backend, ServiceBackends

_LONGEST_AFFINITY = 86400
_PORTS = range(1, 65536)


class LocalService(msgspec.Struct, frozen=True, kw_only=True):
    """`to` holds pairs of a pod's name and a port; a pod counts while it runs."""

    name: str
    address: str
    port: int
    to: tuple[tuple[str, int], ...]
    affinity_seconds: int = 0


class LocalServices:
    """The Services of one instance, kept in a file. Raises `LocalModeError` when that is not readable."""

    def __init__(self, instance: Instance) -> None:
        self._path = instance.directory / "services.json"
        self._services: dict[str, LocalService] = {}
        if self._path.exists():
            try:
                self._services = msgspec.json.decode(self._path.read_bytes(), type=dict[str, LocalService])
            except (OSError, msgspec.DecodeError) as error:
                raise LocalModeError(
                    f"{self._path} is not readable: {error}", hint=f"kube-gateway local --instance {instance.name} down"
                ) from error

    def set(self, service: LocalService) -> None:
        """Make or replace one. Raises `UsageError` for values that cannot be, with nothing changed."""
        service = _checked(service)
        for other in self._services.values():
            if other.address == service.address and other.name != service.name:
                raise UsageError(f"{service.address} is the address of the Service {other.name!r}")
        self._save({**self._services, service.name: service})

    def delete(self, name: str) -> None:
        """Remove one. Raises `LocalModeError`."""
        if name not in self._services:
            known = ", ".join(self._services) or "none"
            raise LocalModeError(f"there is no Service {name!r}", hint=f"Services of this instance: {known}")
        self._save({key: service for key, service in self._services.items() if key != name})

    def resolve(self, address: str, port: int, *, running: Mapping[str, tuple[str, ...]]) -> ServiceBackends | None:
        """What serves TCP `port` of `address`; None when it is no Service's. `running` has the pods' addresses."""
        for service in self._services.values():
            if service.address == address:
                targets = service.to if service.port == port else ()
                family = ipaddress.ip_address(address).version
                found = {
                    (own, target_port)
                    for pod, target_port in targets
                    for own in running.get(pod, ())
                    if ipaddress.ip_address(own).version == family
                }
                return ServiceBackends(
                    service=f"default/{service.name}",
                    backends=tuple(Backend(address=own, port=target_port) for own, target_port in sorted(found)),
                    affinity_seconds=service.affinity_seconds,
                )
        return None

    def _save(self, services: dict[str, LocalService]) -> None:
        write_whole(self._path, msgspec.json.encode(services))
        self._services = services


def _checked(service: LocalService) -> LocalService:
    check_pod_name(service.name)
    try:
        address = ipaddress.ip_address(service.address)
    except ValueError:
        raise UsageError(f"{service.address!r} is no IP address", hint="--address 10.89.200.1") from None
    if any(address in subnet for subnet in SUBNETS) or address.is_loopback or address.is_link_local:
        raise UsageError(f"{address} can be no Service's: it is routed", hint="--address 10.89.200.1, or fd89:200::1")
    for port in (service.port, *(port for _, port in service.to)):
        if port not in _PORTS:
            raise UsageError(f"{port} is no TCP port", hint="ports are 1 to 65535")
    if not 0 <= service.affinity_seconds <= _LONGEST_AFFINITY:
        raise UsageError(f"an affinity of {service.affinity_seconds} s is not between 0 and {_LONGEST_AFFINITY}")
    return msgspec.structs.replace(service, address=str(address))
