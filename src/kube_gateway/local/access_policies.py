"""The GatewayPolicies of this machine: a file for each, in the form that a cluster has them.

People may edit the files with whatever they like; the directory is looked at several times a second.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from kube_gateway.authorization.policy_set import PolicySet
from kube_gateway.authorization.reading import read_policies
from kube_gateway.authorization.schema import API_VERSION, KIND, GatewayPolicy
from kube_gateway.errors import LocalModeError, UsageError
from kube_gateway.local.files import write_whole
from kube_gateway.local.instance import Instance

_log = logging.getLogger("manager")

_NAMESPACE = "default"
_LARGEST_FILE = 1024 * 1024

_Mark = tuple[int, int, int]


class AccessPolicies:
    """Reads and writes them; `known` is what they say."""

    def __init__(self, instance: Instance, *, trust_domain: str) -> None:
        self._directory = instance.directory / "gateway-policies"
        self._marks: dict[Path, _Mark] = {}
        self.known = PolicySet(trust_domain=trust_domain)
        self.look()

    def look(self) -> bool:
        """Read what has changed; true if anything has."""
        marks = {}
        for path in sorted(self._directory.glob("*.yaml")):
            try:
                found = path.stat()
            except OSError:
                continue  # it went in the meantime
            marks[path] = found.st_mtime_ns, found.st_size, found.st_ino
        if marks == self._marks:
            return False
        for path in self._marks.keys() - marks.keys():
            self.known.remove(_key(path))
        for path, mark in marks.items():
            if self._marks.get(path) != mark:
                self._read(path)
        self._marks = marks
        return True

    def apply(self, text: str) -> tuple[str, ...]:
        """Write all policies of `text`, or none. Returns their names. Raises `UsageError` for what is not right."""
        import yaml

        policies = read_policies(text)
        for policy in policies:
            if policy.namespace != _NAMESPACE:
                raise UsageError(
                    f"metadata.namespace: {policy.namespace!r} has no pods here",
                    hint="pods of this machine are of default",
                )
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for policy in policies:
                path = self._directory / f"{policy.name}.yaml"
                write_whole(path, yaml.safe_dump(_as_written(policy), sort_keys=False))
        except OSError as error:
            raise LocalModeError(f"cannot write policies in {self._directory}: {error.strerror}") from error
        self.look()
        return tuple(policy.name for policy in policies)

    def remove(self, name: str) -> None:
        """Remove one. Raises `LocalModeError` if there is none."""
        path = self._directory / f"{name}.yaml"
        if path not in self._marks:
            known = ", ".join(one.stem for one in sorted(self._marks)) or "none"
            raise LocalModeError(f"there is no policy {name!r}", hint=f"policies of this instance: {known}")
        path.unlink(missing_ok=True)
        self.look()

    def _read(self, path: Path) -> None:
        # Not needed before there is a file, and not small.
        from kube_gateway.policy_text import parse

        key = _key(path)
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST_FILE + 1)
            if len(data) > _LARGEST_FILE:
                raise UsageError(f"it is longer than {_LARGEST_FILE} bytes")
            self.known.put(key, parse(data.decode()))
        except (OSError, UnicodeDecodeError) as error:
            self.known.put_broken(key, f"{path} cannot be read: {error}")
        except UsageError as error:
            self.known.put_broken(key, error.message)
        if key in self.known.problems:
            _log.error("the policy in %s is not right: %s", path, self.known.problems[key])


def _key(path: Path) -> str:
    return f"{_NAMESPACE}/{path.stem}"


def _as_written(policy: GatewayPolicy) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": policy.name},
        "spec": msgspec.to_builtins(policy.spec),
    }
