"""What the gateway is told when it is started: who it is, where its watcher listens, and what to begin with.

In a cluster that is enough to work without the watcher: settings, and a certificate from a Secret. The key is taken out of
the environment that children would inherit.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path

import msgspec

from kube_gateway import _native
from kube_gateway.control.messages import Configure, decode_from_watcher
from kube_gateway.control.whereabouts import Whereabouts, parse_whereabouts
from kube_gateway.errors import EnvironmentProblem, UsageError
from kube_gateway.gateway.certificate import Identity

PREFIX = "KUBE_GATEWAY_"
_SECRET = ("KEY", "CERTIFICATE", "TRUST_BUNDLE")


class GatewayEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """`pod` is `namespace/name`; `cgroup` the directory of the pod's cgroup, None where it has to be found.

    `control` is where the watcher listens, `watcher` its SPIFFE id (empty where the kernel vouches for it). `settings` and
    `identity` are what to begin with, None where the watcher gives them.
    """

    pod: str
    uid: str
    generation: int
    control: Whereabouts
    watcher: str = ""
    cgroup: Path | None = None
    settings: Configure | None = None
    identity: Identity | None = None


def read_environment(environment: MutableMapping[str, str]) -> GatewayEnvironment:
    """Take the gateway's variables out of `environment`.

    Raises `EnvironmentProblem` naming the variable that is missing or wrong.
    """
    cgroup = environment.get(PREFIX + "CGROUP")
    try:
        control = parse_whereabouts(_value(environment, "CONTROL"))
    except UsageError as error:
        raise EnvironmentProblem(f"{PREFIX}CONTROL: {error.message}", hint=error.hint) from None
    return GatewayEnvironment(
        pod=_value(environment, "POD"),
        uid=_value(environment, "UID"),
        generation=_generation(_value(environment, "GENERATION")),
        control=control,
        watcher=environment.get(PREFIX + "WATCHER", ""),
        cgroup=Path(cgroup) if cgroup else None,
        settings=_settings(environment),
        identity=_identity(environment),
    )


def _value(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(PREFIX + name, "")
    if not value:
        raise EnvironmentProblem(
            f"{PREFIX}{name} is not set",
            hint="the gateway is started by its watcher; to try it on this machine: kube-gateway local up",
        )
    return value


def _generation(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise EnvironmentProblem(f"{PREFIX}GENERATION is {text!r}", hint="it must be a number from 1 on")
    return int(text)


def _settings(environment: Mapping[str, str]) -> Configure | None:
    text = environment.get(PREFIX + "SETTINGS")
    if text is None:
        return None
    try:
        message = decode_from_watcher(text.encode())
    except ValueError as error:
        raise EnvironmentProblem(f"{PREFIX}SETTINGS: {error}", hint="is the image older than the watcher?") from None
    if not isinstance(message, Configure):
        raise EnvironmentProblem(f"{PREFIX}SETTINGS is a {type(message).__name__}")
    return message


def _identity(environment: MutableMapping[str, str]) -> Identity | None:
    key, chain, trust_bundle = (environment.pop(PREFIX + name, "") for name in _SECRET)
    if not key:
        return None
    try:
        spiffe_id, expires = _native.read_certificate(chain)
    except _native.NativeError as error:
        raise EnvironmentProblem(
            f"{PREFIX}CERTIFICATE: {error.args[0]}", hint="it comes from the Secret that the watcher writes for the pod"
        ) from error
    return Identity(
        chain=chain,
        key=key,
        trust_bundle=trust_bundle,
        trust_domain=spiffe_id.removeprefix("spiffe://").partition("/")[0],
        expires=float(expires),
    )
