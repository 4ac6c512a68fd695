"""`kube-gateway local config`: the policy for a pod's LLM calls, as a ConfigMap holds it in a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kube_gateway.errors import LocalModeError, UsageError

_IN_FORCE_WITHIN = 5.0


@click.command()
@click.argument("name")
@click.argument("file", required=False, metavar="[FILE|-]")
@click.option("--remove", is_flag=True, help="Have no policy: calls are counted, and pass.")
@click.pass_context
def config(ctx: click.Context, name: str, file: str | None, *, remove: bool) -> None:
    """Set the policy for a pod's LLM calls from FILE (- is standard input), or show it.

    It is in force within a second, also when the file of the pod is edited; streams go on under the one that they began
    with. One that is not right is refused, and the last one that was stays in force.
    """
    from kube_gateway.local.client import LocalClient

    client = LocalClient(ctx.obj.name)
    if file is not None and remove:
        raise UsageError("a policy is to be set and removed at once")
    if file is None and not remove:
        _show(Path(client.pod(name).policy), name)
        return
    pod = client.configure(name, _read(file) if file is not None else None)
    if not pod.ai:
        click.echo(f"{name}: written to {pod.policy}; it applies once the pod is annotated: ai=true", err=True)
        return
    if pod.state == "running":
        pod = client.wait_settled(name, timeout=_IN_FORCE_WITHIN)
    said = pod.report.ai if pod.report is not None else None
    if said is None or said.refused:
        raise LocalModeError(
            f"the gateway of {name} does not take the policy: {said.problem if said else 'it says nothing'}",
            hint="the last one that was right stays in force",
        )
    click.echo(f"{name}: policy {said.policy} (revision {said.revision}) applies to LLM calls", err=True)


def _show(path: Path, name: str) -> None:
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise LocalModeError(
            f"{name} has no policy", hint=f"kube-gateway local config {name} FILE, or edit {path}"
        ) from None
    except OSError as error:
        raise LocalModeError(f"cannot read {path}: {error.strerror}") from error
    click.echo(text, nl=False)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
