"""`kube-gateway flush`: what flushing a pod of a cluster would do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.kubernetes import cluster_options, connect
from kube_gateway.errors import KubeGatewayError

if TYPE_CHECKING:
    from kube_gateway.checks.asking import Refusal
    from kube_gateway.checks.cluster_pods import Enrolled
    from kube_gateway.checks.connections import Published
    from kube_gateway.control.flush_plan import FlushPlan
    from kube_gateway.kube.client import KubernetesClient


@click.command(short_help="What netflush would do to a pod's connections")
@cluster_options
@click.option("-n", "--namespace", default="", help="Default: that of the kubeconfig's context.")
@click.option("--watcher-namespace", default="kube-gateway", show_default=True, help="Where the watcher is.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.argument("pod")
def command(
    kubeconfig: Path | None,
    context: str | None,
    *,
    namespace: str,
    watcher_namespace: str,
    dry_run: bool,
    output: str,
    pod: str,
) -> None:
    """List a pod's connections in clear: whose they are, what would become of each, and why.

    AGE is at least that. BECAUSE is why it is in clear: older than the gateway, relayed by it to a peer that was not
    enrolled, or outside of what it captures. What is listed is ten seconds old, AGE and IDLE up to a minute.
    """
    import asyncio

    from kube_gateway.cli.flush_output import refuse_without_dry_run

    client = connect(kubeconfig, context)
    where = namespace or client.namespace
    if not dry_run:
        refuse_without_dry_run(f"kubectl annotate pod -n {where} {pod} kube-gateway.io/netflush=true")
    published, enrolled = asyncio.run(_read(client, pod, where, watcher_namespace))
    show_published(published, enrolled, pod=f"{where}/{pod}", output=output, now=time.time())


async def _read(
    client: KubernetesClient, pod: str, namespace: str, watcher: str
) -> tuple[Published | Refusal, Enrolled]:
    from kube_gateway.checks.cluster_pods import read_pod
    from kube_gateway.checks.connections import read_published

    async with client:
        enrolled = await read_pod(client, pod, watcher=watcher, namespace=namespace)
        return await read_published(client, pod, namespace=namespace, watcher=watcher), enrolled


def show_published(published: Published | Refusal, enrolled: Enrolled, *, pod: str, output: str, now: float) -> None:
    """Print what is known of `pod` ("namespace/name"); `now` is in seconds since the epoch. Raises `KubeGatewayError`."""
    from kube_gateway.checks.asking import Refusal
    from kube_gateway.checks.reported import FRESH
    from kube_gateway.cli.flush_output import show
    from kube_gateway.cli.output import duration

    if isinstance(published, Refusal):
        raise KubeGatewayError(published.message, hint=published.hint)
    plan = published.plan or _without_connections(enrolled, pod)
    if plan is None:
        namespace, _, name = pod.partition("/")
        hint = f"kube-gateway status -n {namespace} {name}"
        if published.left_out:
            raise KubeGatewayError(f"the watcher has no room to tell of all pods, and leaves out {pod}", hint=hint)
        raise KubeGatewayError(f"no gateway of {pod} has told of its connections", hint=hint)
    show(plan, output=output, containers=published.containers)
    if now - published.time > FRESH:
        click.echo(f"warning: that is as it was {duration(now - published.time)} ago", err=True)
        click.echo("hint: kube-gateway check", err=True)


def _without_connections(enrolled: Enrolled, pod: str) -> FlushPlan | None:
    """For a pod whose gateway has reported, and nothing in clear."""
    from kube_gateway.checks.asking import Refusal
    from kube_gateway.control.flush_plan import FlushPlan, Standing

    pods = () if isinstance(enrolled.pods, Refusal) else enrolled.pods
    said = next((one.reported for one in pods if one.key == pod and one.reported is not None), None)
    if said is None or not said.version or said.clear_connections or said.state == "none":
        return None
    standing = Standing(encrypted=said.encrypted_connections)
    return FlushPlan(pod=pod, flush=None, state=said.state, standing=standing)
