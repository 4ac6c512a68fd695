"""A workload as the watcher sees it."""

from __future__ import annotations

import msgspec


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """One pod: who it is, where it is, and what was asked for it.

    `addresses` are textual IP addresses without prefix length, IPv4 first. `uid` changes when a pod of the same name is
    created anew. `probe_sources` are the addresses of its node, `probe_ports` those of its ports that the kubelet there
    connects to.
    """

    name: str
    uid: str
    namespace: str = "default"
    service_account: str = "default"
    addresses: tuple[str, ...] = ()
    annotations: dict[str, str] = {}
    probe_sources: tuple[str, ...] = ()
    probe_ports: tuple[int, ...] = ()
    labels: dict[str, str] = {}

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"
