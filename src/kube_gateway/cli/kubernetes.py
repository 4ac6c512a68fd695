"""Options of the verbs that speak to a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kube_gateway.kube.client import KubernetesClient

Command = Callable[..., Any]


def cluster_options(command: Command) -> Command:
    """Add `--kubeconfig` and `--context`."""
    for option in (
        click.option("--context", metavar="NAME", help="Context of the kubeconfig."),
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Default: the pod's service account, $KUBECONFIG, or ~/.kube/config.",
        ),
    ):
        command = option(command)
    return command


def connect(kubeconfig: Path | None, context: str | None) -> KubernetesClient:
    """A client of the cluster. Raises `KubernetesError`."""
    from kube_gateway.kube.client import KubernetesClient

    return KubernetesClient.connect(kubeconfig=kubeconfig, context=context)
