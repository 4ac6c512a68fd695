"""`kube-gateway ca`: create and look at the certificate authority."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from kube_gateway.cli.kubernetes import cluster_options, connect

_DIRECTORY = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="here",
    help="Where ca.crt and ca.key are.",
)


@click.group()
def command() -> None:
    """The certificate authority."""


@command.command()
@_DIRECTORY
@click.option("--trust-domain", default="cluster.local", show_default=True, help="First part of every SPIFFE id.")
def create(directory: Path, trust_domain: str) -> None:
    """Create a root certificate and its key; never over existing ones."""
    from kube_gateway.identity.authority import CERTIFICATE_FILE, KEY_FILE, create_authority

    authority = create_authority(directory, trust_domain=trust_domain)
    click.echo(f"certificate  {directory / CERTIFICATE_FILE}")
    click.echo(f"key          {directory / KEY_FILE} (keep it secret: whoever has it can be any workload)")
    click.echo(f"sha256       {authority.fingerprint}")


@command.command()
@_DIRECTORY
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def show(directory: Path, output: str) -> None:
    """Show the authority and check that it is sound."""
    from kube_gateway.cli.output import print_json
    from kube_gateway.identity.authority import load_authority

    authority = load_authority(directory)
    facts = {
        "trust_domain": authority.trust_domain,
        "sha256": authority.fingerprint,
        "not_before": f"{authority.certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
        "not_after": f"{authority.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}",
    }
    if output == "json":
        print_json(facts)
    else:
        for name, value in facts.items():
            click.echo(f"{name.replace('_', ' '):<13} {value}")


@command.command()
@click.option("--status", "what", flag_value="status", help="How far it is, and whom it waits for.")
@click.option("--abort", "what", flag_value="abort", help="Undo it, as long as the old root is trusted.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where ca.crt and ca.key of the new root are; default: one is made. Of a cluster.",
)
@click.option("--instance", help="Of the local mode, rather than a cluster.")
@cluster_options
@click.option("--namespace", default="kube-gateway", show_default=True, help="Of the watcher.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def rotate(
    kubeconfig: Path | None,
    context: str | None,
    *,
    what: Literal["status", "abort"] | None,
    directory: Path | None,
    instance: str | None,
    namespace: str,
    output: str,
) -> None:
    """Replace the root while workloads run; no connection breaks.

    Three steps, each taken once every gateway has taken the one before: both roots are trusted, the new one signs, the old
    one is forgotten. The watcher does it, whichever leads, from where it is. A gateway that is away is waited for until
    its certificate has expired. A root that is made names the trust domain that the old one names, or, as that one, none.
    """
    from kube_gateway.cli.rotation import in_cluster, show
    from kube_gateway.errors import UsageError
    from kube_gateway.identity.authority import load_authority
    from kube_gateway.local.client import LocalClient

    if directory is not None and (what or instance is not None):
        raise UsageError("--directory is for the beginning of a rotation in a cluster")
    new = load_authority(directory) if directory is not None else None
    if instance is not None:
        status = LocalClient(instance).rotate(what or "begin").status
    else:
        status = in_cluster(connect(kubeconfig, context), what or "begin", namespace=namespace, new=new)
    show(status, output=output)


@command.command()
@_DIRECTORY
@cluster_options
@click.option("--namespace", default="kube-gateway", show_default=True, help="Of the watcher; made if it is missing.")
@click.option("--replace", is_flag=True, help="Also over another authority, at once.")
def load(directory: Path, kubeconfig: Path | None, context: str | None, *, namespace: str, replace: bool) -> None:
    """Put the authority into the cluster, as the Secret that the watcher reads.

    With --replace over another one: gateways get certificates of the new root within seconds, and until all have them new
    connections between them break. `ca rotate` breaks none.
    """
    import asyncio

    from kube_gateway.identity.authority import load_authority
    from kube_gateway.watcher.authority_secret import put_authority

    authority = load_authority(directory)
    client = connect(kubeconfig, context)

    async def run() -> str:
        async with client:
            return await put_authority(client, authority, namespace=namespace, replace=replace)

    click.echo(f"{asyncio.run(run())} in {client.server}")
