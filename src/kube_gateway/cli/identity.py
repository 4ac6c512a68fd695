"""`kube-gateway identity`: what a pod would prove."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.kubernetes import cluster_options, connect

if TYPE_CHECKING:
    from kube_gateway.model.identity_report import IdentityReport


@click.command(short_help="What a pod would prove: its certificate, and the roots that it trusts")
@click.argument("pod", metavar="POD")
@click.option("--instance", help="Of the local mode, rather than a cluster.")
@cluster_options
@click.option("-n", "--namespace", default="", help="Default: that of the kubeconfig's context.")
@click.option("--watcher-namespace", default="kube-gateway", show_default=True, help="Where the watcher is.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    kubeconfig: Path | None,
    context: str | None,
    *,
    pod: str,
    instance: str | None,
    namespace: str,
    watcher_namespace: str,
    output: str,
) -> None:
    """Show the certificate that a POD's gateway begins new sessions with, as the gateway itself reports it.

    The root is that which the certificate comes from; a peer is believed if it comes from one of the roots trusted.
    Fingerprints are SHA-256.
    """
    from kube_gateway.cli.output import print_json

    if instance is not None:
        found = _local(instance, pod)
    else:
        found = _in_cluster(kubeconfig, context, pod, namespace=namespace, watcher=watcher_namespace)
    if output == "json":
        print_json(found)
    else:
        click.echo("\n".join(lines(found, now=time.time())))


def lines(identity: IdentityReport, *, now: float) -> list[str]:
    """What is shown. `now` is in seconds since the epoch."""
    return [
        f"spiffe id   {identity.spiffe_id}",
        f"addresses   {', '.join(identity.addresses)}",
        f"pod uid     {identity.uid or 'not named'}",
        f"serial      {identity.serial}",
        f"root        {identity.issuer or 'none of those trusted'}",
        f"not before  {_moment(identity.not_before, now)}",
        f"not after   {_moment(identity.not_after, now)}",
        f"renewal     {_moment(identity.renews_at, now) if identity.renews_at > now else 'due'}",
        *(f"trusts      {root}" for root in identity.roots),
    ]


def _moment(at: float, now: float) -> str:
    from kube_gateway.cli.output import duration

    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return f"{when} (in {duration(at - now)})" if at > now else f"{when} ({duration(now - at)} ago)"


def _local(instance: str, pod: str) -> IdentityReport:
    from kube_gateway.errors import IdentityError
    from kube_gateway.local.client import LocalClient

    view = LocalClient(instance).pod(pod)
    if view.report is None or view.report.identity is None:
        raise IdentityError(
            f"the gateway of {pod} is {view.gateway}, and proves nothing",
            hint=f"kube-gateway local --instance {instance} annotate {pod} encrypt=true",
        )
    return view.report.identity


def _in_cluster(
    kubeconfig: Path | None, context: str | None, pod: str, *, namespace: str, watcher: str
) -> IdentityReport:
    import asyncio

    from kube_gateway.checks.identities import read_identity

    client = connect(kubeconfig, context)

    async def run() -> IdentityReport:
        async with client:
            return await read_identity(client, pod, namespace=namespace or client.namespace, watcher=watcher)

    return asyncio.run(run())
