"""`kube-gateway local status`: what has left the pods of this machine, and how."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kube_gateway.control.flush_plan import FlushPlan
    from kube_gateway.local.api import PodView
    from kube_gateway.model.flow import AccessReport
    from kube_gateway.model.sent import SentReport

_HEADINGS = (
    "NAME",
    "ENCRYPT",
    "GATEWAY",
    "SENT",
    "TUNNEL",
    "TLS",
    "PLAIN",
    "UDP",
    "OTHER",
    "REFUSED",
    "UDP REFUSED",
    "NOW",
    "CLEAR",
)
_OF_ONE = ("TO", "KIND", "BYTES", "PACKETS")
_MOST_SHOWN = 20


@click.command()
@click.argument("name", required=False, default="")
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def status(ctx: click.Context, name: str, output: str) -> None:
    """Show what has left the pods, and how; with NAME, where that went, and whom policies have denied.

    SENT is the share of the bytes that nobody on the wire could read; then bytes in tunnels, as TLS of the pod's own,
    as other TCP (PLAIN), by UDP, by anything else. REFUSED is what was not let through because it was in clear:
    connections, and packets of UDP. NOW is the share of the connections that stand that is encrypted, CLEAR how many of
    them are not.
    """
    from kube_gateway.cli import denials
    from kube_gateway.cli.output import print_json, print_table
    from kube_gateway.local.client import LocalClient

    client = LocalClient(ctx.obj.name)
    pods = (client.pod(name),) if name else client.pods()
    if output == "json":
        print_json([_whole(pod) for pod in pods])
        return
    print_table(_HEADINGS, [_row(pod) for pod in pods])
    sent = _sent(pods[0]) if name else None
    if sent is not None:
        _show_peers(sent)
    access = _access(pods[0]) if name else None
    if access is not None and access.denials:
        click.echo("")
        print_table(denials.HEADINGS, denials.rows(access))
    plan = client.plan_flush(name) if name else None
    if plan is not None:
        _show_standing(plan)


def _row(pod: PodView) -> tuple[str, ...]:
    from kube_gateway.cli import standing
    from kube_gateway.cli.sent import share_encrypted, size
    from kube_gateway.model.sent import KINDS

    sent = _sent(pod)
    refused, packets = _refused(pod)
    return (
        pod.name,
        pod.encryption,
        pod.gateway,
        share_encrypted(sent.totals) if sent is not None else "-",
        *(size(sent.totals.get(kind, 0)) if sent is not None else "-" for kind in KINDS),
        str(refused) if pod.report is not None else "-",
        str(packets) if pod.report is not None else "-",
        standing.share(pod.standing),
        str(pod.standing.clear) if pod.report is not None else "-",
    )


def _show_peers(sent: SentReport) -> None:
    from kube_gateway.cli.output import duration, print_table
    from kube_gateway.cli.sent import size

    click.echo(f"\nsince {duration(time.time() - sent.since)} ago, to those with the most:")
    print_table(
        _OF_ONE, [(peer.address, peer.kind, size(peer.bytes), str(peer.packets)) for peer in sent.peers[:_MOST_SHOWN]]
    )
    if len(sent.peers) > _MOST_SHOWN:
        click.echo(f"and to {len(sent.peers) - _MOST_SHOWN} more; --output json has them")


def _show_standing(plan: FlushPlan) -> None:
    from kube_gateway.cli.standing import reasons, spelled

    click.echo(f"\n{spelled(plan.standing)}")
    for line in reasons(plan.causes, older=sum(verdict.connection.older for verdict in plan.verdicts)):
        click.echo(line)


def _sent(pod: PodView) -> SentReport | None:
    return pod.report.sent if pod.report is not None else None


def _access(pod: PodView) -> AccessReport | None:
    return pod.report.snapshot.access if pod.report is not None else None


def _refused(pod: PodView) -> tuple[int, int]:
    """Connections and handshakes in clear, and packets of UDP."""
    from kube_gateway.model.sent import refused_in_clear

    counters = pod.report.snapshot.counters if pod.report is not None else {}
    return refused_in_clear(counters), counters.get("udp_refused", 0)


def _whole(pod: PodView) -> dict[str, object]:
    refused, packets = _refused(pod)
    return {
        "name": pod.name,
        "encryption": pod.encryption,
        "gateway": pod.gateway,
        "sent": _sent(pod),
        "refused_in_clear": refused,
        "udp_refused": packets,
        "access": _access(pod),
        "clear_connections": pod.standing.clear if pod.report is not None else None,
        "encrypted_connections": pod.standing.encrypted if pod.report is not None else None,
    }
