"""`kube-gateway local`: the product on this machine, without a cluster."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.duration import Duration
from kube_gateway.cli.local_config import config
from kube_gateway.cli.local_flush import flush
from kube_gateway.cli.local_policy import policy
from kube_gateway.cli.local_status import status
from kube_gateway.errors import LocalModeError, UsageError
from kube_gateway.local.instance import DEFAULT_INSTANCE, Instance

if TYPE_CHECKING:
    from kube_gateway.local.api import PodView
    from kube_gateway.local.client import LocalClient

_READY_WITHIN = 15.0
_SHORTEST_LIFE = 5.0


@click.group()
@click.option(
    "--instance",
    envvar="KUBE_GATEWAY_INSTANCE",
    default=DEFAULT_INSTANCE,
    show_default=True,
    help="Instances do not see each other (or KUBE_GATEWAY_INSTANCE).",
)
@click.pass_context
def command(ctx: click.Context, instance: str) -> None:
    """Pods on this machine, without a cluster.

    A pod is a network namespace on a bridge, a cgroup, and its processes.
    """
    ctx.obj = Instance(instance)


def _client(ctx: click.Context) -> LocalClient:
    from kube_gateway.local.client import LocalClient

    return LocalClient(ctx.obj.name)


_LIFE = click.option(
    "--certificate-life", type=Duration(shortest=_SHORTEST_LIFE), help="Of the gateways' certificates.  [default: 1h]"
)


@command.command()
@_LIFE
@click.option(
    "--strict/--no-strict", default=None, help="Every pod with encrypt=true is as with encrypt=strict; remembered."
)
@click.pass_context
def up(ctx: click.Context, *, certificate_life: float | None, strict: bool | None) -> None:
    """Start, or find what a manager that died has left."""
    from kube_gateway.local.lifecycle import up as start

    if start(ctx.obj, certificate_life=certificate_life, strict=strict):
        click.echo(f"local mode {ctx.obj.name!r} is up", err=True)
    else:
        click.echo(f"local mode {ctx.obj.name!r} was up already", err=True)


@command.command()
@click.pass_context
def down(ctx: click.Context) -> None:
    """End all pods and remove everything."""
    from kube_gateway.local.lifecycle import down as remove

    if remove(ctx.obj):
        click.echo(f"local mode {ctx.obj.name!r} is down, nothing is left of it", err=True)
    else:
        click.echo(f"local mode {ctx.obj.name!r} was not up", err=True)


@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="May be given many times.")
@click.option("--service-account", default="default", show_default=True, help="Part of the pod's SPIFFE id.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="May be given many times.  [default: app=NAME]"
)
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.pass_context
def run(
    ctx: click.Context,
    name: str,
    annotations: tuple[str, ...],
    service_account: str,
    labels: tuple[str, ...],
    arguments: tuple[str, ...],
) -> None:
    """Start a pod, and wait for its gateway if the annotations ask for one."""
    wanted, removed = _changes(annotations)
    if removed:
        raise UsageError("a new pod has no annotation to remove", hint="--annotation KEY=VALUE")
    client = _client(ctx)
    marked = _labels(labels)
    pod = client.run(name, arguments, annotations=wanted, service_account=service_account, labels=marked)
    if pod.encryption != "off" or pod.ai:
        client.wait_settled(name, timeout=_READY_WITHIN)
    click.echo(f"{pod.name} {' '.join(pod.addresses)}")


@command.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE... KEY-...")
@click.option(
    "--wait", "timeout", type=float, default=_READY_WITHIN, show_default=True, help="Seconds; 0 does not wait."
)
@click.pass_context
def annotate(ctx: click.Context, name: str, changes: tuple[str, ...], timeout: float) -> None:
    """Change a pod's annotations, and wait until that is in effect.

    KEY- removes one. kube-gateway.io/ may be left out.
    """
    wanted, removed = _changes(changes)
    client = _client(ctx)
    pod = client.annotate(name, wanted, remove=removed)
    if timeout > 0 and pod.state == "running":
        pod = client.wait_settled(name, timeout=timeout)
    click.echo(f"{pod.name}: gateway {pod.gateway}, encryption {pod.encryption}{_of_calls(pod)}", err=True)
    if pod.problem:
        click.echo(f"warning: {pod.name}: {pod.problem}", err=True)


def _of_calls(pod: PodView) -> str:
    """What there is to say of LLM calls, if anything."""
    said = pod.report.ai if pod.report is not None else None
    if not pod.ai or said is None:
        return ""
    model = f", all to {said.model}" if said.model else ""
    return f", LLM calls pass policy {said.policy}{model}"


def _changes(items: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """What to set and what to remove, in kubectl's notation."""
    wanted: dict[str, str] = {}
    removed: list[str] = []
    for item in items:
        key, equals, value = item.partition("=")
        if equals and key:
            wanted[_full(key)] = value
        elif not equals and item.endswith("-") and len(item) > 1:
            removed.append(_full(item[:-1]))
        else:
            raise UsageError(f"{item!r} is neither KEY=VALUE nor KEY-", hint="encrypt=true sets, encrypt- removes")
    both = sorted(set(wanted) & set(removed))
    if both:
        raise UsageError(f"{both[0]} is to be set and removed at once")
    return wanted, removed


def _labels(items: tuple[str, ...]) -> dict[str, str]:
    pairs = [item.partition("=") for item in items]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise UsageError(f"{key!r} is no label", hint="--label KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _full(key: str) -> str:
    return key if "/" in key else f"kube-gateway.io/{key}"


@command.command()
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.pass_context
def pods(ctx: click.Context, output: str) -> None:
    """List the pods."""
    from kube_gateway.cli.output import duration, print_json, print_table

    found = _client(ctx).pods()
    if output == "json":
        print_json(found)
        return
    headings = ("NAME", "ADDRESS", "PIDS", "STATE", "GATEWAY", "ENCRYPT", "AI", "CLEAR", "AGE")
    rows = [
        (
            pod.name,
            ",".join(pod.addresses),
            _pids(pod),
            pod.state,
            pod.gateway,
            pod.encryption,
            _policy_name(pod),
            str(pod.standing.clear) if pod.report else "-",
            duration(time.time() - pod.created),
        )
        for pod in found
    ]
    print_table(headings, rows)
    for pod in found:
        if pod.problem:
            click.echo(f"warning: {pod.name}: {pod.problem}", err=True)


def _policy_name(pod: PodView) -> str:
    said = pod.report.ai if pod.report is not None else None
    return (said.policy if said is not None and said.policy else "none yet") if pod.ai else "-"


def _pids(pod: PodView) -> str:
    shown = ",".join(str(pid) for pid in pod.pids[:3])
    return (shown or "-") if len(pod.pids) <= 3 else f"{shown},+{len(pod.pids) - 3}"


@command.command()
@click.argument("name")
@click.option(
    "-c", "--container", type=click.Choice(["app", "kube-gateway"]), default="app", show_default=True, help="Whose."
)
@click.option("-f", "--follow", is_flag=True, help="Go on until interrupted.")
@click.pass_context
def logs(ctx: click.Context, name: str, container: str, follow: bool) -> None:
    """Print what a pod, or its gateway, has written."""
    _client(ctx).pod(name)
    path: Path = ctx.obj.log_of(name, container)
    if not path.exists():
        if container == "app":
            raise LocalModeError(f"{path} is missing")
        raise LocalModeError(f"{name} has had no gateway", hint=f"annotate it: {name} encrypt=true")
    with path.open("rb") as log:
        while True:
            while piece := log.read(65536):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            if not follow or not path.exists():
                return
            time.sleep(0.2)


@command.command(name="exec", context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@click.pass_context
def execute(ctx: click.Context, name: str, arguments: tuple[str, ...]) -> None:
    """Run a command in a pod, as its application would."""
    import shutil

    from kube_gateway.local.launch import in_pod

    pod = _client(ctx).pod(name)
    if pod.state != "running":
        raise LocalModeError(
            f"the pod {name} has {pod.state}",
            hint=f"kube-gateway local --instance {ctx.obj.name} delete {name}, and run it again",
        )
    if shutil.which(arguments[0]) is None:
        raise UsageError(f"the command {arguments[0]!r} was not found", hint="give a program on the PATH")
    line = in_pod(ctx.obj, name, arguments)
    sys.stdout.flush()
    os.execvp(line[0], line)  # noqa: S606 - becomes the command: input, output and exit code are its own


@command.command()
@click.argument("name")
@click.pass_context
def upgrade(ctx: click.Context, name: str) -> None:
    """Have a further gateway take over from a pod's, as a newer version does.

    The older one keeps the connections that it has until they end.
    """
    client = _client(ctx)
    client.upgrade(name)
    pod = client.wait_settled(name, timeout=_READY_WITHIN)
    click.echo(f"{pod.name}: gateway {pod.gateway}, generation {pod.generation}", err=True)


@command.command()
@click.argument("name")
@click.pass_context
def delete(ctx: click.Context, name: str) -> None:
    """End a pod and remove everything of it."""
    _client(ctx).delete(name)
    click.echo(f"{name} is deleted", err=True)


@command.command()
@click.argument("name")
@click.option("--address", help="IPv4 or IPv6, and nothing that is routed, like 10.89.200.1.")
@click.option("--port", type=int, help="Where clients connect to.")
@click.option("--to", "targets", multiple=True, metavar="POD:PORT", help="A backend; may be given many times.")
@click.option("--affinity", type=int, default=0, metavar="SECONDS", help="A client stays with its backend so long.")
@click.option("--delete", "removed", is_flag=True, help="Remove it.")
@click.pass_context
def service(
    ctx: click.Context,
    name: str,
    address: str | None,
    port: int | None,
    targets: tuple[str, ...],
    *,
    affinity: int,
    removed: bool,
) -> None:
    """Give pods an address in common, which other pods' gateways know."""
    from kube_gateway.local.services import LocalService

    if removed:
        _client(ctx).delete_service(name)
        click.echo(f"the Service {name} is deleted", err=True)
        return
    if address is None or port is None:
        raise UsageError("a Service has an address and a port", hint="--address 10.89.200.1 --port 80 --to POD:PORT")
    to = tuple(_target(text) for text in targets)
    _client(ctx).set_service(LocalService(name=name, address=address, port=port, to=to, affinity_seconds=affinity))
    click.echo(f"{name} {address} {port}")


def _target(text: str) -> tuple[str, int]:
    pod, _, port = text.rpartition(":")
    if not pod or not port.isascii() or not port.isdigit():
        raise UsageError(f"{text!r} is no backend", hint="--to POD:PORT")
    return pod, int(port)


command.add_command(config)
command.add_command(flush)
command.add_command(status)
command.add_command(policy)


@command.command(hidden=True)
@click.option("--certificate-life", type=Duration(shortest=_SHORTEST_LIFE), required=True)
@click.option("--strict", is_flag=True)
@click.pass_context
def manager(ctx: click.Context, *, certificate_life: float, strict: bool) -> None:
    """Be the manager (started by up)."""
    import datetime

    from kube_gateway.gateway.logs import start_logging
    from kube_gateway.local.manager import run_manager

    start_logging()
    run_manager(ctx.obj, certificate_life=datetime.timedelta(seconds=certificate_life), strict=strict)
