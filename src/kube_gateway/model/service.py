"""What is behind a Service's address."""

from __future__ import annotations

import msgspec


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """One workload that serves: a pod's address and the port it listens on."""

    address: str
    port: int


class ServiceBackends(msgspec.Struct, frozen=True, kw_only=True):
    """The backends of one port of a Service.

    `service` is `namespace/name`; `backends` are sorted and unique, perhaps none. `affinity_seconds` above 0: a client
    stays with its backend until it has been silent for so long.
    """

    service: str
    backends: tuple[Backend, ...] = ()
    affinity_seconds: int = 0
