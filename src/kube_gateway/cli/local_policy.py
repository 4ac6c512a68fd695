"""`kube-gateway local policy`: who may reach which pod of this machine, as GatewayPolicies say in a cluster."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.errors import LocalModeError, UsageError

if TYPE_CHECKING:
    from kube_gateway.local.api import PolicyView
    from kube_gateway.local.client import LocalClient

_IN_FORCE_WITHIN = 5.0


@click.group()
def policy() -> None:
    """Who may reach which port of which pod."""


def _client(ctx: click.Context) -> LocalClient:
    from kube_gateway.local.client import LocalClient

    return LocalClient(ctx.obj.name)


@policy.command()
@click.argument("file", metavar="FILE|-")
@click.pass_context
def apply(ctx: click.Context, file: str) -> None:
    """Put the policies of FILE (- is standard input) in force, and wait until they are."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
    client = _client(ctx)
    written = client.apply_policies(text)
    _wait(client)
    for one in client.policies():
        if one.name in written:
            click.echo(_effect(one), err=True)


@policy.command()
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Remove a policy."""
    client = _client(ctx)
    client.remove_policy(name)
    _wait(client)
    click.echo(f"policy {name} is removed", err=True)


@policy.command(name="list")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def list_(ctx: click.Context, output: str) -> None:
    """List the policies, whom they select, and what is wrong with them."""
    from kube_gateway.cli.output import print_json, print_table

    found = _client(ctx).policies()
    if output == "json":
        print_json(found)
        return
    headings = ("NAME", "DEFAULT", "RULES", "DRY RUN", "SELECTS", "DENIED", "WOULD DENY")
    rows = [
        (
            one.name,
            one.default,
            str(one.rules),
            "yes" if one.dry_run else "no",
            ",".join(one.selects) or "-",
            str(one.denied),
            str(one.would_deny),
        )
        for one in found
    ]
    print_table(headings, rows)
    for one in found:
        if one.problem:
            click.echo(f"warning: {one.name}: {one.problem}", err=True)


def _effect(policy: PolicyView) -> str:
    if policy.problem:
        return f"warning: {policy.name}: {policy.problem}"
    if not policy.selects:
        return f"warning: policy {policy.name} selects no pod; without --label a pod has the label app=NAME"
    return f"policy {policy.name} is in force: {', '.join(policy.selects)}"


def _wait(client: LocalClient) -> None:
    """Until every gateway applies what the policies say now."""
    deadline = time.monotonic() + _IN_FORCE_WITHIN
    while behind := [pod.name for pod in client.pods() if pod.gateway == "ready" and not pod.rules_in_force]:
        if time.monotonic() > deadline:
            raise LocalModeError(
                f"the gateways of {', '.join(behind)} do not apply the policies after {_IN_FORCE_WITHIN:g} s",
                hint=f"kube-gateway local --instance {client.instance.name} logs {behind[0]} -c kube-gateway",
            )
        time.sleep(0.05)
