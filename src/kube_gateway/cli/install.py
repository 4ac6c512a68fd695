"""`kube-gateway install`: print what makes the watcher run in a cluster."""

from __future__ import annotations

import click


@click.command(short_help="Print the watcher's manifest, for kubectl apply -f -")
@click.option("--image", help="Of the watcher and, unless it is told otherwise, of the gateways.")
@click.option("--pull-policy", type=click.Choice(["IfNotPresent", "Always", "Never"]), help="Of both.")
@click.option("--replicas", type=click.IntRange(1), help="How many watchers; one leads.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(image: str | None, pull_policy: str | None, replicas: int | None, arguments: tuple[str, ...]) -> None:
    """Print the watcher's manifest as YAML: kube-gateway install | kubectl apply -f -

    ARGUMENTS after -- are for the watcher: kube-gateway install -- --privileged=when-needed
    """
    from kube_gateway.manifests import customised, watcher_manifest

    _check(arguments)
    more = [f"--pull-policy={pull_policy}"] if pull_policy else []
    if not (image or pull_policy or replicas or arguments):
        click.echo(watcher_manifest(), nl=False)
        return
    text = customised(image=image, pull_policy=pull_policy, replicas=replicas, arguments=[*more, *arguments])
    click.echo(text, nl=False)


def _check(arguments: tuple[str, ...]) -> None:
    """A watcher that does not start because of a slip would be found out much later."""
    from kube_gateway.cli.watch import command as watch

    with watch.make_context("watch", ["--name=-", "--address=-", *arguments]):
        pass
