"""`kube-gateway revoke`: have nothing more to do with a pod, whatever its certificate says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.kubernetes import cluster_options, connect
from kube_gateway.errors import UsageError

if TYPE_CHECKING:
    from kube_gateway.identity.revocation import Revocations


@click.command(short_help="Have nothing more to do with a pod, whatever its certificate says")
@click.argument("pod", metavar="POD", required=False, default="")
@click.option("--uid", default="", help="Of a pod that is gone, or whose name is another's by now.")
@click.option("--list", "listed", is_flag=True, help="Only say which pods are revoked.")
@click.option("--instance", help="Of the local mode, rather than a cluster.")
@cluster_options
@click.option("-n", "--namespace", default="", help="Default: that of the kubeconfig's context.")
@click.option("--watcher-namespace", default="kube-gateway", show_default=True, help="Where the watcher is.")
def command(
    kubeconfig: Path | None,
    context: str | None,
    *,
    pod: str,
    uid: str,
    listed: bool,
    instance: str | None,
    namespace: str,
    watcher_namespace: str,
) -> None:
    """Revoke a POD: it is certified no more, and within seconds its peers end what stands with it and refuse it.

    That is so until it is taken back, or until the pod and every certificate that it had are gone.
    """
    if listed == bool(pod or uid) or (pod and uid):
        raise UsageError("one pod is revoked at a time", hint="kube-gateway revoke POD, or --uid UID, or --list")
    change(kubeconfig, context, pod=pod, uid=uid, instance=instance, namespace=namespace, watcher=watcher_namespace)


def change(
    kubeconfig: Path | None,
    context: str | None,
    *,
    pod: str,
    uid: str,
    instance: str | None,
    namespace: str,
    watcher: str,
    restore: bool = False,
) -> None:
    """Revoke a pod or take it back, and print which are revoked. Raises `KubeGatewayError`."""
    import asyncio

    from kube_gateway.local.client import LocalClient

    if instance is not None:
        show(LocalClient(instance).revoke(pod, uid=uid, restore=restore).revocations, now=time.time())
        return
    from kube_gateway.checks.revocation_map import change_revocations

    client = connect(kubeconfig, context)

    async def run() -> Revocations:
        async with client:
            where = namespace or client.namespace
            return await change_revocations(
                client, pod=pod, uid=uid, restored=restore, namespace=where, watcher=watcher
            )

    show(asyncio.run(run()), now=time.time())


def show(revocations: Revocations, *, now: float) -> None:
    """Print them. `now` is in seconds since the epoch."""
    from kube_gateway.cli.output import duration, print_table

    if not revocations:
        click.echo("no pod is revoked")
        return
    rows = [(one.pod or "-", one.uid, f"{duration(now - one.since)} ago") for one in revocations]
    print_table(("POD", "UID", "REVOKED"), rows)
