"""What a gateway knows of its connections and peers, as it reports it."""

from __future__ import annotations

import msgspec


class ClearConnection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An established TCP connection of the pod that crosses the network outside the tunnel.

    Older than the gateway (`older`), excluded, or relayed in clear because the peer was not enrolled (`relayed`). Addresses
    are textual; `cookie` is the kernel's socket cookie; `idle` is seconds since data last moved in either direction. `age`
    is a lower bound, in seconds: the kernel keeps no time of birth. `half_closed`: the peer has said all that it will.
    `sent` and `received` are bytes of payload since the connection began. `from_router`: its peer is the pod's router,
    where the kubelet's probes may come from.

    Whose it is, as far as the gateway can see: `uid` is the user that made the socket, `container` the name of the cgroup
    that it was made in, below the pod's; `process` and `pid` one process that has it open, for `process_age` seconds, which
    bounds the age of no more than what that process itself has made.
    """

    cookie: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    relayed: bool
    idle: float
    older: bool = False
    age: float = 0.0
    half_closed: bool = False
    sent: int = 0
    received: int = 0
    from_router: bool = False
    uid: int = 0
    container: str = ""
    process: str = ""
    pid: int = 0
    process_age: float = 0.0


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway knows of one peer address.

    `state` is `enrolled`, `clear` (not enrolled) or `refused` (its certificate was not accepted); `enrolled` is whether it
    has been seen enrolled and has not left, refused or not. `spiffe_id`, `cipher` and `key_exchange` are those of the
    newest session, empty before the first; `certificate_expires` is seconds since the epoch. The counters are streams (one
    application connection each) in both directions.
    """

    address: str
    state: str
    enrolled: bool = False
    spiffe_id: str = ""
    cipher: str = ""
    key_exchange: str = ""
    certificate_expires: float = 0
    tunnelled: int = 0
    clear: int = 0
    refused: int = 0


class Denial(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that were denied alike: of one peer, to one port, by one rule.

    `peer` is a SPIFFE id, or an address where none was proved. `rule` is the number of the policy's rule from 1 on, 0 where
    no rule allowed it. With `dry_run` they were not denied, and would be without. `last` is seconds since the epoch.
    """

    peer: str
    address: str
    port: int
    policy: str
    rule: int
    dry_run: bool
    count: int
    last: float


class AccessReport(msgspec.Struct, frozen=True, kw_only=True):
    """Who may reach the pod: `rules` is `authorization_name` of those in force, empty for none; the latest denials first,
    20 at most."""

    rules: str = ""
    denials: tuple[Denial, ...] = ()


class GatewaySnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Counters since the worker's start, and all peers in use. Bytes are application payload.

    `counters` has at least: `streams_outbound`, `streams_inbound`, `streams_active`, `bytes_sent`, `bytes_received`,
    `sessions_dialled`, `sessions_accepted`, `sessions_active`, `sessions_pooled`, `clear_outbound`, `refused_outbound`,
    `denied_inbound`, `malformed_inbound`, `handshakes_failed`, and `hook_*` counters of the kernel side. Connections to
    Services: `services_resolved` went to a backend, `services_without_backends` were reset; `services_unanswered` went to
    an address of which the watcher had not said whether it is a Service's. `own_outbound`: to the pod itself, as a backend
    of the Service. `clear_standing` is how many connections stand in clear, also beyond those that are reported one by one.
    Policies of who may reach the pod: `authorization_denied`, `authorization_would_deny` (a dry run),
    `authorization_ended` (connections that stood when the rules changed); `denied_outbound` is what peers have denied.
    """

    counters: dict[str, int] = {}
    peers: tuple[PeerReport, ...] = ()
    access: AccessReport | None = None
