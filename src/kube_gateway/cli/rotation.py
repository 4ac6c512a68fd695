"""How far the replacement of a root is, for people; and in a cluster, its beginning and its undoing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from kube_gateway.identity.authority import Authority
    from kube_gateway.identity.rotation import Status
    from kube_gateway.kube.client import KubernetesClient

_STEPS = {
    "introduce": "1 of 3, introduce: both roots are trusted, the old one signs",
    "switch": "2 of 3, switch: both roots are trusted, the new one signs",
    "retire": "3 of 3, retire: the new root signs, the old one is being forgotten",
}


def show(status: Status, *, output: str) -> None:
    """Print it."""
    from kube_gateway.cli.output import print_json

    if output == "json":
        print_json(status)
    else:
        click.echo("\n".join(lines(status, now=time.time())))


def lines(status: Status, *, now: float) -> list[str]:
    """What is shown. `now` is in seconds since the epoch."""
    from kube_gateway.cli.output import duration

    rotation = status.rotation
    if rotation is None:
        return [f"root      {status.root}", "rotation  none is under way"]
    found = [
        f"step      {_STEPS[rotation.stage]}",
        f"old root  {rotation.old}",
        f"new root  {rotation.new}",
        f"begun     {duration(now - rotation.begun)} ago, in this step for {duration(now - rotation.changed)}",
    ]
    if not status.waiting:
        return [*found, "waits for nobody: the next step comes within seconds"]
    return [*found, "waits for", *(f"  {one.name}: {one.why}" for one in status.waiting)]


def in_cluster(
    client: KubernetesClient, what: Literal["begin", "status", "abort"], *, namespace: str, new: Authority | None = None
) -> Status:
    """Begin (with `new`, or a root that is made), undo or look. Raises `IdentityError` and `KubernetesError`."""
    import asyncio

    from kube_gateway.checks.rotation_status import rotate

    async def run() -> Status:
        async with client:
            return await rotate(client, what, namespace=namespace, new=new)

    return asyncio.run(run())
