"""What a gateway is, as the other one of its pod has to find it."""

from __future__ import annotations

import msgspec

from kube_gateway.gateway.certificate import Identity


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What this gateway is. `uid` is the pod's, `cgroup` the inode number of the gateway's own cgroup."""

    identity: Identity
    addresses: tuple[str, ...]
    uid: str
    generation: int
    cgroup: int
