"""`kube-gateway local flush`: what flushing a pod of this machine would do."""

from __future__ import annotations

import click

from kube_gateway.errors import LocalModeError


@click.command(short_help="What netflush would do to a pod's connections")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def flush(ctx: click.Context, name: str, *, dry_run: bool, output: str) -> None:
    """List a pod's connections in clear: whose they are, what would become of each, and why.

    AGE is at least that. BECAUSE is why it is in clear: older than the gateway, relayed by it to a peer that was not
    enrolled, or outside of what it captures.
    """
    from kube_gateway.cli.flush_output import refuse_without_dry_run, show
    from kube_gateway.local.client import LocalClient

    where = f"kube-gateway local --instance {ctx.obj.name}"
    if not dry_run:
        refuse_without_dry_run(f"{where} annotate {name} netflush=true")
    plan = LocalClient(ctx.obj.name).plan_flush(name)
    if plan is None:
        raise LocalModeError(
            f"{name} has no gateway, so its connections are not known", hint=f"{where} annotate {name} encrypt=true"
        )
    show(plan, output=output)
