"""From text and objects to policies, with words for what is wrong."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from kube_gateway.authorization.schema import API_VERSION, KIND, GatewayPolicy, PolicySpec
from kube_gateway.errors import UsageError

_DOCUMENTS = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)
_PLACE = re.compile(r"^(?P<said>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


def read_policies(text: str) -> tuple[GatewayPolicy, ...]:
    """All policies of a file, YAML or JSON, one document each. Raises `UsageError` that begins with the field."""
    # Not needed in a cluster, where the API server gives objects.
    from kube_gateway.policy_text import parse  # noqa: PLC0415

    values = [parse(part) for part in _DOCUMENTS.split(text)]
    policies = tuple(read_object(value) for value in values if value is not None)
    if not policies:
        raise UsageError("there is no policy in it", hint=f"begin it with apiVersion: {API_VERSION}, kind: {KIND}")
    seen: set[str] = set()
    for policy in policies:
        if policy.key in seen:
            raise UsageError(f"metadata.name: {policy.key} is there twice")
        seen.add(policy.key)
    return policies


def read_object(value: Any) -> GatewayPolicy:  # noqa: ANN401 - any JSON value
    """A policy from its object; without a namespace it is of `default`. Raises `UsageError` that begins with the field."""
    if not isinstance(value, dict):
        raise UsageError("a policy is an object with apiVersion, kind, metadata and spec", hint=_HINT)
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if value.get(field) != wanted:
            raise UsageError(f"{field}: it must be {wanted}, and is {value.get(field)!r}", hint=_HINT)
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(f"metadata.name: {name!r} is no name", hint="use lower-case letters, digits, dots and dashes")
    namespace = metadata.get("namespace", "default") if isinstance(metadata, dict) else "default"
    if not isinstance(namespace, str) or not _NAME.fullmatch(namespace):
        raise UsageError(f"metadata.namespace: {namespace!r} is no namespace")
    unknown = sorted(value.keys() - {"apiVersion", "kind", "metadata", "spec", "status"})
    if unknown:
        raise UsageError(f"{unknown[0]}: no such field", hint=_HINT)
    return GatewayPolicy(namespace=namespace, name=name, spec=read_spec(value.get("spec")))


def read_spec(value: Any) -> PolicySpec:  # noqa: ANN401
    """What a policy says. Raises `UsageError` that begins with the field, as `spec.rules[2].ports[0]: ...`."""
    try:
        spec = msgspec.convert(value, PolicySpec)
    except msgspec.ValidationError as error:
        raise _said_plainly(str(error)) from None
    _check(spec)
    return spec


def port_range(port: int | str) -> tuple[int, int]:
    """A port, or a range as `8000-8010`, both ends included. Raises `UsageError`."""
    first, _, last = str(port).partition("-")
    numbers = int(first), int(last or first)
    if not 1 <= numbers[0] <= numbers[1] <= 65535:
        raise UsageError(f"{port!r} is no port or range of ports", hint='give 1 to 65535, or a range: "8000-8010"')
    return numbers


def _check(spec: PolicySpec) -> None:
    """What the types do not say."""
    for index, requirement in enumerate(spec.selector.match_expressions):
        if (requirement.operator in {"In", "NotIn"}) != bool(requirement.values):
            raise UsageError(
                f"spec.selector.matchExpressions[{index}].values: {requirement.operator} "
                + ("needs some" if requirement.operator in {"In", "NotIn"} else "takes none")
            )
    for number, rule in enumerate(spec.rules):
        for index, peer in enumerate(rule.peers):
            named = peer.namespace or peer.service_account
            if (bool(peer.identity), bool(named), peer.anyone).count(True) != 1:
                raise UsageError(
                    f"spec.rules[{number}].from[{index}]: name an identity, or a namespace and service account",
                    hint="identity alone; or namespace, serviceAccount or both; or anyone: true",
                )
        for index, port in enumerate(rule.ports or ()):
            try:
                port_range(port)
            except UsageError as error:
                raise UsageError(f"spec.rules[{number}].ports[{index}]: {error.message}", hint=error.hint) from None


def _said_plainly(message: str) -> UsageError:
    found = _PLACE.match(message)
    said, path = (found["said"], found["path"]) if found else (message, None)
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", said):
        path, said = f"{path}.{unknown[1]}" if path else unknown[1], "no such field"
    elif missing := re.fullmatch(r"Object missing required field `(.*)`", said):
        path, said = f"{path}.{missing[1]}" if path else missing[1], "it is missing"
    place = f"spec.{path}" if path else "spec"
    return UsageError(f"{place}: {said.replace('`', '')}", hint=_HINT)


_HINT = "docs/gateway-policy.md says what there is"
