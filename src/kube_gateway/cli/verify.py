"""`kube-gateway verify`: send a secret from one pod to another and look for it on the wire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kube_gateway.local.verify import Verification

_CLASSES = {"tls": "TLS records", "plain": "not TLS", "empty": "nothing"}


@click.command(short_help="Prove that traffic between two pods is encrypted")
@click.argument("client", metavar="A")
@click.argument("server", metavar="B")
@click.option("--instance", envvar="KUBE_GATEWAY_INSTANCE", default="local", show_default=True)
@click.option("--ipv6", is_flag=True, help="Use the pods' IPv6 addresses.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(context: click.Context, client: str, server: str, *, instance: str, ipv6: bool, output: str) -> None:
    """Send a random secret from pod A to pod B, capture the wire meanwhile, and look for the secret there.

    B answers with the secret's SHA-256, which is looked for as well. Exit status: 0 both arrived and neither was
    readable, 1 one was readable or did not arrive, 2 the command is wrong.
    """
    from kube_gateway.cli.output import print_json
    from kube_gateway.errors import UsageError
    from kube_gateway.local.client import LocalClient
    from kube_gateway.local.verify import verify

    if client == server:
        raise UsageError(
            f"A and B are both {client}, and what a pod says to itself never crosses the wire", hint="name two pods"
        )
    result = verify(LocalClient(instance), client=client, server=server, ipv6=ipv6)
    if output == "json":
        print_json({"encrypted": result.encrypted, **_as_dict(result)})
    else:
        click.echo("\n".join(_text(result)))
    # Undelivered between one that is enrolled and one that is not: most likely the first is strict.
    one_sided = not result.encrypted and len(result.not_enrolled) == 1
    for pod in result.not_enrolled if result.seen_in_clear or one_sided else ():
        click.echo(f"hint: kube-gateway local --instance {instance} annotate {pod} encrypt=true", err=True)
    context.exit(0 if result.encrypted else 1)


def _as_dict(result: Verification) -> dict[str, object]:
    import msgspec

    return msgspec.structs.asdict(result)


def _text(result: Verification) -> list[str]:
    lines = [f"{result.client} -> {result.server} ({_host(result.address)}:{result.port}): {_verdict(result)}", ""]
    lines += [f"  arrived         {_arrival(result)}"]
    lines += [f"  readable        {_sightings(result)}"]
    for port in result.ports:
        lines += [f"  wire port {port.port:<5} {port.payload_bytes} bytes, {_CLASSES[port.traffic]}"]
    if result.server_spiffe_id:
        left = max(0, result.certificate_expires - time.time()) / 60
        lines += [f"  {result.client:<15} {result.client_spiffe_id}"]
        lines += [f"  {result.server:<15} {result.server_spiffe_id}, certificate good for {left:.0f} min"]
        lines += [f"  session         {result.cipher}, {result.key_exchange}"]
    return lines


def _verdict(result: Verification) -> str:
    if result.seen_in_clear:
        return "READABLE on the wire"
    if result.encrypted:
        return "encrypted"
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
