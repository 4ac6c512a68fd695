"""`kube-gateway unrevoke`: take back a pod that was revoked."""

from __future__ import annotations

from pathlib import Path

import click

from kube_gateway.cli.kubernetes import cluster_options
from kube_gateway.cli.revoke import change
from kube_gateway.errors import UsageError


@click.command(short_help="Take back a pod that was revoked")
@click.argument("pod", metavar="POD", required=False, default="")
@click.option("--uid", default="", help="Of a pod that is gone, or whose name is another's by now.")
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
    instance: str | None,
    namespace: str,
    watcher_namespace: str,
) -> None:
    """Certify a POD again, and have its peers speak to it."""
    if bool(pod) == bool(uid):
        raise UsageError("one pod is taken back at a time", hint="kube-gateway unrevoke POD, or --uid UID")
    change(
        kubeconfig,
        context,
        pod=pod,
        uid=uid,
        instance=instance,
        namespace=namespace,
        watcher=watcher_namespace,
        restore=True,
    )
