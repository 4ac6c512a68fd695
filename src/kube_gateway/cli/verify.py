"""`kube-gateway verify`: send a secret from one pod to another and look for it on the wire."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.duration import Duration
from kube_gateway.errors import UsageError
from kube_gateway.local.instance import DEFAULT_INSTANCE

if TYPE_CHECKING:
    from kube_gateway.local.verify import Verification

_FILE = click.Path(path_type=Path, dir_okay=False)
_CLASSES = {"tls": "TLS records", "plain": "not TLS", "empty": "nothing"}


@click.command(short_help="Prove that traffic between two pods is encrypted")
@click.argument("client", metavar="A", required=False, default="")
@click.argument("server", metavar="[B]", required=False, default="")
@click.option("--instance", envvar="KUBE_GATEWAY_INSTANCE", default=DEFAULT_INSTANCE, show_default=True)
@click.option("--ipv6", is_flag=True, help="Use the pods' IPv6 addresses.")
@click.option("--receipt", is_flag=True, help="Have A's gateway sign what A has sent, and print that.")
@click.option("--period", "last", type=Duration(shortest=1), help="Of the receipt: the last 90s, 30m, 12h.")
@click.option("--since", help="Of the receipt: from when, 2026-01-31T09:30:00Z.  [default: since it is counted]")
@click.option("--until", help="Of the receipt: until when.  [default: now]")
@click.option(
    "--watcher", is_flag=True, help="A receipt of the pod NAMESPACE/NAME of the cluster that is watched here."
)
@click.option("--name", envvar="KUBE_GATEWAY_NAME", default="", hidden=True)
@click.option("--check", "checked", type=_FILE, help="Prove the receipt in this file; of A, if a pod is named.")
@click.option("--root", type=_FILE, default=Path("ca.crt"), show_default=True, help="To prove a receipt by.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(
    context: click.Context,
    client: str,
    server: str,
    *,
    instance: str,
    ipv6: bool,
    receipt: bool,
    last: float | None,
    since: str | None,
    until: str | None,
    watcher: bool,
    name: str,
    checked: Path | None,
    root: Path,
    output: str,
) -> None:
    """Send a random secret from pod A to pod B, capture the wire meanwhile, and look for the secret there.

    B answers with the secret's SHA-256, which is looked for as well; and what A's gateway has counted must be what the wire
    showed. Exit status: 0 both arrived, neither was readable and all was counted, 1 if not, 2 the command is wrong.

    With --receipt, print what A has sent in a period, and how, signed by A's gateway; it is JSON, to be kept. With --check,
    prove such a file by the root certificate: exit status 1 if it proves nothing. In a cluster, receipts are asked for in
    the watcher's container: kubectl exec -n kube-gateway deploy/kube-gateway-watcher -- kube-gateway verify NAMESPACE/POD
    --receipt --watcher.
    """
    from kube_gateway.cli import receipt as receipts

    if checked is not None:
        receipts.check(checked, root=root, pod=client, instance=instance, output=output)
    elif receipt:
        begin, end = receipts.period(since=since, until=until, last=last)
        if not client or server:
            raise UsageError("a receipt is of one pod", hint="kube-gateway verify POD --receipt")
        if watcher:
            receipts.show(receipts.of_watcher(client, name=name, since=begin, until=end))
        else:
            receipts.show(receipts.of_local(client, instance=instance, since=begin, until=end))
    else:
        _verify(context, client, server, instance=instance, ipv6=ipv6, output=output)


def _verify(context: click.Context, client: str, server: str, *, instance: str, ipv6: bool, output: str) -> None:
    from kube_gateway.cli.output import print_json
    from kube_gateway.local.client import LocalClient
    from kube_gateway.local.verify import verify

    if not client or not server:
        raise UsageError("traffic is between two pods", hint="kube-gateway verify A B")
    if client == server:
        raise UsageError(
            f"A and B are both {client}, and what a pod says to itself never crosses the wire", hint="name two pods"
        )
    result = verify(LocalClient(instance), client=client, server=server, ipv6=ipv6)
    if output == "json":
        print_json({"encrypted": result.encrypted, "counted_right": result.counted_right, **_as_dict(result)})
    else:
        click.echo("\n".join(_text(result)))
    # Undelivered between one that is enrolled and one that is not: most likely the first is strict.
    one_sided = not result.encrypted and len(result.not_enrolled) == 1
    for pod in result.not_enrolled if result.seen_in_clear or one_sided else ():
        click.echo(f"hint: kube-gateway local --instance {instance} annotate {pod} encrypt=true", err=True)
    context.exit(0 if result.encrypted and result.counted_right else 1)


def _as_dict(result: Verification) -> dict[str, object]:
    import msgspec

    return msgspec.structs.asdict(result)


def _text(result: Verification) -> list[str]:
    lines = [f"{result.client} -> {result.server} ({_host(result.address)}:{result.port}): {_verdict(result)}", ""]
    lines += [f"  arrived         {_arrival(result)}"]
    lines += [f"  readable        {_sightings(result)}"]
    for port in result.ports:
        lines += [f"  wire port {port.port:<5} {port.payload_bytes} bytes, {_CLASSES[port.traffic]}"]
    if result.counted is not None:
        lines += [f"  counted         {_counted(result)}"]
    if result.server_spiffe_id:
        left = max(0, result.certificate_expires - time.time()) / 60
        lines += [f"  {result.client:<15} {result.client_spiffe_id}"]
        lines += [f"  {result.server:<15} {result.server_spiffe_id}, certificate good for {left:.0f} min"]
        lines += [f"  session         {result.cipher}, {result.key_exchange}"]
    return lines


def _counted(result: Verification) -> str:
    from kube_gateway.cli.sent import size

    counted = result.counted or {}
    told = ", ".join(f"{kind} {size(counted.get(kind, 0))}" for kind in ("tunnel", "tls", "plain"))
    seen = ", ".join(f"{kind} {size(count)}" for kind, count in result.captured.items() if count) or "nothing"
    return f"{told} left {result.client}, {'as' if result.counted_right else 'BUT'} the wire shows: {seen}"


def _verdict(result: Verification) -> str:
    if result.seen_in_clear:
        return "READABLE on the wire"
    if result.encrypted:
        return "encrypted" if result.counted_right else "encrypted, BUT NOT ALL OF IT WAS COUNTED"
    return "not delivered"


def _arrival(result: Verification) -> str:
    if result.answered:
        return "yes, and the answer came back"
    words = result.problem or "no reason given"
    return f"yes, but the answer did not come back: {words}" if result.arrived else f"no: {words}"


def _sightings(result: Verification) -> str:
    places = [
        f"the {each.marker} on port {each.server_port}, from {each.source} to {each.destination}"
        if each.source
        else f"the {each.marker} outside TCP"
        for each in result.where
    ]
    return "; ".join(places) or f"neither the secret nor the answer, in {result.frames} frames"


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
