"""`kube-gateway policy`: GatewayPolicies, checked and explained."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.kubernetes import cluster_options, connect
from kube_gateway.cli.output import output_option
from kube_gateway.errors import KubeGatewayError, UsageError

if TYPE_CHECKING:
    from kube_gateway.authorization.schema import GatewayPolicy
    from kube_gateway.model.authorization import Authorization

_FILE = click.argument("file", metavar="FILE|-")
_DOMAIN = click.option(
    "--trust-domain", default="cluster.local", show_default=True, help="Of ids that FILE names by namespace."
)


@click.group()
def command() -> None:
    """Who may reach which port of which pod: GatewayPolicies."""


@command.command()
@_FILE
@_DOMAIN
@output_option
def lint(file: str, trust_domain: str, output: str) -> int:
    """Check FILE: errors, and what is most likely not meant.

    Exit code 0: nothing was found; 1: there are remarks; 2: a policy is wrong.
    """
    from kube_gateway.authorization.remarks import remarks_on
    from kube_gateway.cli.output import print_json

    policies = _read(file)
    remarks = remarks_on(policies, trust_domain=trust_domain)
    if output == "json":
        print_json({"policies": [policy.key for policy in policies], "remarks": remarks})
        return 1 if remarks else 0
    for remark in remarks:
        click.echo(f"{remark.at}: {remark.message}")
        click.echo(f"  hint: {remark.hint}")
    count = f"{len(policies)} {'policy' if len(policies) == 1 else 'policies'}"
    click.echo(f"{count}, {len(remarks)} remark{'' if len(remarks) == 1 else 's'}" if remarks else f"{count}, all well")
    return 1 if remarks else 0


@command.command()
@click.option("--from", "peer", required=True, metavar="ID", help="A SPIFFE id; none: a peer that proves nothing.")
@click.option("--to", "target", required=True, metavar="[NAMESPACE/]POD")
@click.option("--port", type=click.IntRange(1, 65535), required=True)
@click.option("--file", help="By the policies of a file, not those that are in force.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="With --file: of the pod.  [default: app=POD]"
)
@click.option("--instance", help="By the policies of this local mode, not of a cluster.")
@_DOMAIN
@output_option
@cluster_options
def explain(
    peer: str,
    target: str,
    port: int,
    file: str | None,
    labels: tuple[str, ...],
    instance: str | None,
    trust_domain: str,
    output: str,
    kubeconfig: Path | None,
    context: str | None,
) -> int:
    """Say whether a peer may reach a port of a pod, and which rule decides.

    Exit code 0: it may; 1: it may not.
    """
    from kube_gateway.authorization.explanation import explain as explained
    from kube_gateway.cli.output import print_json

    namespace, _, name = target.rpartition("/")
    namespace = namespace or "default"
    if peer != "none" and not peer.startswith("spiffe://"):
        raise UsageError(f"{peer!r} is no SPIFFE id", hint="spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT, or none")
    if file is not None:
        rules = _of_file(file, namespace, name, labels=labels, trust_domain=trust_domain)
    elif instance is not None:
        rules = _of_instance(instance, name)
    else:
        rules = asyncio.run(_of_cluster(namespace, name, kubeconfig, context, trust_domain=trust_domain))
    found = explained(rules, peer=None if peer == "none" else peer, port=port)
    if output == "json":
        print_json(found)
        return 0 if found.allowed else 1
    who = "a peer that proves nothing" if peer == "none" else peer
    click.echo(f"{who} {'may' if found.allowed else 'may not'} reach {namespace}/{name} port {port}: {found.decided}")
    if found.would_deny:
        click.echo(f"without dry runs it could not: {found.would_deny}")
    for line in found.lines:
        click.echo(f"  {line}")
    if not found.policies:
        click.echo("no policy selects the pod")
    return 0 if found.allowed else 1


def _read(file: str) -> tuple[GatewayPolicy, ...]:
    from kube_gateway.authorization.reading import read_policies

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    return read_policies(text)


def _of_file(file: str, namespace: str, name: str, *, labels: tuple[str, ...], trust_domain: str) -> Authorization:
    from kube_gateway.authorization.compiling import compile_for
    from kube_gateway.model.pod import Pod

    pairs = [label.partition("=") for label in labels]
    marked = {key: value for key, _, value in pairs} or {"app": name}
    pod = Pod(name=name, uid="", namespace=namespace, labels=marked)
    return compile_for(pod, _read(file), trust_domain=trust_domain)


def _of_instance(instance: str, name: str) -> Authorization:
    from kube_gateway.local.client import LocalClient

    return _decoded(LocalClient(instance).pod(name).rules)


def _decoded(text: str) -> Authorization:
    from kube_gateway.model.authorization import decode_authorization

    return decode_authorization(text)


async def _of_cluster(
    namespace: str, name: str, kubeconfig: Path | None, context: str | None, *, trust_domain: str
) -> Authorization:
    from kube_gateway.authorization.policy_set import PolicySet
    from kube_gateway.authorization.schema import API_VERSION, KIND
    from kube_gateway.kube.refusals import NotFound
    from kube_gateway.watcher.access_policies import PolicyObject
    from kube_gateway.watcher.objects import PodObject, pod_of

    known = PolicySet(trust_domain=trust_domain)
    async with connect(kubeconfig, context) as client:
        try:
            seen = await client.get(f"/api/v1/namespaces/{namespace}/pods/{name}", PodObject)
        except NotFound:
            raise KubeGatewayError(f"there is no pod {namespace}/{name}", hint="--to NAMESPACE/POD") from None
        try:
            listing = await client.list(f"/apis/{API_VERSION}/namespaces/{namespace}/gatewaypolicies", PolicyObject)
        except NotFound:
            raise KubeGatewayError(
                "the cluster has no GatewayPolicies", hint="kube-gateway install prints their definition too"
            ) from None
    for found in listing.items:
        metadata = {"name": found.metadata.name, "namespace": namespace}
        written = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": found.spec}
        known.put(f"{namespace}/{found.metadata.name}", written)
    for key, problem in known.problems.items():
        click.echo(f"warning: {key} is not right: {problem}", err=True)
    return _decoded(known.text_for(pod_of(seen, inherited={})))
