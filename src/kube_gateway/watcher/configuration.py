"""What the watcher is told when it is started."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Literal

import msgspec

Privileged = Literal["never", "when-needed", "always"]
"""Whether gateways are; `when-needed`: on nodes where one could not do without (see `generations.NEEDS_PRIVILEGE`)."""

NAMESPACE = "kube-gateway"
SERVICE_ACCOUNT = "kube-gateway-watcher"
SERVICE = "kube-gateway-watcher"
LEASE = "kube-gateway-watcher"
CONTROL_PORT = 18444
"""Where gateways connect to."""

AUTHORITY_SECRET = "watcher"  # noqa: S105 - the name of one
CERTIFICATE_KEY, PRIVATE_KEY_KEY = "ca-cert", "ca-key"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """`image` empty: that of the watcher's own pod. `capture_cidrs` is the default of the annotation podcidr, as text.

    `authority` is a directory with the files ca-cert and ca-key. `address` is the watcher's own, under which the other
    watchers tell gateways to look for it; `control` is where gateways look first, empty: the Service of the watcher.
    `name` is that of the watcher's pod. `target_first`: gateways share the process namespace of the first container.
    `strict`: every pod that encrypts is strict. `metrics_port` is where figures of all pods are served, 0 for nowhere.
    `longest_retry` is the longest pause, in seconds, before a gateway that failed is replaced.
    """

    namespace: str = NAMESPACE
    service: str = SERVICE
    service_account: str = SERVICE_ACCOUNT
    name: str
    address: str
    port: int = CONTROL_PORT
    control: str = ""
    authority: Path
    trust_domain: str | None = None
    image: str = ""
    pull_policy: str = "IfNotPresent"
    certificate_life: datetime.timedelta = datetime.timedelta(hours=1)
    capture_cidrs: str = ""
    privileged: Privileged = "never"
    target_first: bool = False
    strict: bool = False
    metrics_port: int = 0
    longest_retry: float = 300.0
