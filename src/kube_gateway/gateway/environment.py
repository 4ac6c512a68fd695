"""What the gateway is told when it is started: who it is and where its watcher listens. No secret among it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from kube_gateway.errors import EnvironmentProblem

_PREFIX = "KUBE_GATEWAY_"


class GatewayEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """`pod` is `namespace/name`, `cgroup` the directory of the pod's cgroup, `control` the watcher's unix socket."""

    pod: str
    uid: str
    generation: int
    cgroup: Path
    control: Path

    @property
    def gateway_cgroup(self) -> Path:
        """The directory of the gateway's own cgroup, a child of the pod's."""
        return self.cgroup / "gateway"


def read_environment(environment: Mapping[str, str]) -> GatewayEnvironment:
    """Return the gateway's environment. Raises `EnvironmentProblem` naming the variable that is missing or wrong."""
    return GatewayEnvironment(
        pod=_value(environment, "POD"),
        uid=_value(environment, "UID"),
        generation=_generation(_value(environment, "GENERATION")),
        cgroup=Path(_value(environment, "CGROUP")),
        control=_control(_value(environment, "CONTROL")),
    )


def _value(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(_PREFIX + name, "")
    if not value:
        raise EnvironmentProblem(
            f"{_PREFIX}{name} is not set",
            hint="the gateway is started by its watcher; to try it on this machine: kube-gateway local up",
        )
    return value


def _generation(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise EnvironmentProblem(f"{_PREFIX}GENERATION is {text!r}", hint="it must be a number from 1 on")
    return int(text)


def _control(text: str) -> Path:
    scheme, _, path = text.partition(":")
    if scheme != "unix" or not path.startswith("/"):
        raise EnvironmentProblem(f"{_PREFIX}CONTROL is {text!r}", hint="it must be unix:/absolute/path")
    return Path(path)
