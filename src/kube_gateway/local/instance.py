"""An instance of the local mode: its name, and where everything of it is."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from kube_gateway.errors import UsageError

DEFAULT_INSTANCE = "local"

# No dash: an instance's name is a prefix of its namespaces' names, up to a dash.
_NAME = re.compile(r"[a-z0-9]{1,16}")
_POD = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")


class Instance(msgspec.Struct, frozen=True):
    """One set of pods with one manager. Instances do not see each other."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"{self.name!r} cannot name an instance", hint="use 1 to 16 lower-case letters and digits")

    @property
    def directory(self) -> Path:
        """State of the instance, readable by root only."""
        return Path(os.environ.get("KUBE_GATEWAY_RUN", "/run/kube-gateway")) / self.name

    @property
    def manager_socket(self) -> Path:
        """Where the manager answers the command line."""
        return self.directory / "manager.sock"

    @property
    def control_socket(self) -> Path:
        """Where the manager answers gateways."""
        return self.directory / "control.sock"

    @property
    def manager_log(self) -> Path:
        """What the manager has to say."""
        return self.directory / "manager.log"

    @property
    def authority(self) -> Path:
        """Directory of the certificate authority."""
        return self.directory / "ca"

    @property
    def revocations(self) -> Path:
        """Which pods are revoked."""
        return self.directory / "revoked.json"

    @property
    def policies(self) -> Path:
        """Directory of the policies for LLM calls."""
        return self.directory / "config"

    @property
    def captures(self) -> Path:
        """Directory for packet captures."""
        return self.directory / "captures"

    @property
    def namespace(self) -> str:
        """The network namespace that holds the bridge, so that the host's own network is never touched."""
        return f"kgw-{self.name}"

    @property
    def cgroup(self) -> str:
        """Name of the instance's cgroup below the mount of cgroup2."""
        return f"kube-gateway-{self.name}"

    def pod_namespace(self, pod: str) -> str:
        """The network namespace of a pod."""
        return f"{self.namespace}-{pod}"

    def pod_directory(self, pod: str) -> Path:
        """State and logs of a pod."""
        return self.directory / "pods" / pod

    def log_of(self, pod: str, container: str) -> Path:
        """The log of a pod's application (`app`) or gateway (`kube-gateway`)."""
        return self.pod_directory(pod) / f"{container}.log"


def check_pod_name(name: str) -> None:
    """Raise `UsageError` unless `name` can name a pod."""
    if not _POD.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a pod",
            hint="use lower-case letters, digits and dashes, at most 40, beginning and ending with a letter or digit",
        )
