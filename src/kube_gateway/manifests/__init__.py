"""The watcher's manifest: the one source of `kube-gateway install` and of deploy/watcher.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

import yaml


def watcher_manifest() -> str:
    """The YAML as it is."""
    return resources.files(__package__).joinpath("watcher.yaml").read_text()


def objects() -> list[dict[str, Any]]:
    """The objects of the manifest."""
    return [found for found in yaml.safe_load_all(watcher_manifest()) if found]


def customised(*, image: str | None, pull_policy: str | None, replicas: int | None, arguments: Sequence[str]) -> str:
    """The manifest with another image, pull policy or number of watchers, and more arguments for the watcher."""
    changed = list(_customised(image=image, pull_policy=pull_policy, replicas=replicas, arguments=arguments))
    text: str = yaml.safe_dump_all(changed, sort_keys=False, width=120)
    return text


def _customised(
    *, image: str | None, pull_policy: str | None, replicas: int | None, arguments: Sequence[str]
) -> Iterator[dict[str, Any]]:
    for found in objects():
        if found["kind"] == "Deployment":
            (container,) = found["spec"]["template"]["spec"]["containers"]
            container["image"] = image or container["image"]
            container["imagePullPolicy"] = pull_policy or container["imagePullPolicy"]
            container["args"] += list(arguments)
            found["spec"]["replicas"] = found["spec"]["replicas"] if replicas is None else replicas
        yield found
