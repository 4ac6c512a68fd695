"""What flushing a pod would do, as a table or as data; the same for a cluster and for this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from kube_gateway.errors import UsageError

if TYPE_CHECKING:
    from kube_gateway.control.flush_plan import FlushPlan
    from kube_gateway.control.flushing import Fate, Verdict
    from kube_gateway.model.flow import ClearConnection

_HEADINGS = ("PORT", "PEER", "AGE", "IDLE", "OWNER", "BECAUSE", "WOULD", "WHY")
_WOULD: dict[Fate, str] = {"ends": "end", "waits": "end when idle", "stays": "stay"}


def refuse_without_dry_run(annotate: str) -> None:
    """Raise `UsageError`: `annotate` is the command that has connections ended."""
    raise UsageError(
        "this verb only says what flushing would do; connections are ended while the pod has the annotation netflush",
        hint=f"give --dry-run, or: {annotate}",
    )


def show(plan: FlushPlan, *, output: str, containers: Mapping[str, str] | None = None) -> None:
    """Print a plan. `containers` has names of containers by the ids that their cgroups are named for."""
    from kube_gateway.cli.output import print_json, print_table

    names = containers or {}
    if output == "json":
        print_json(as_data(plan, names))
        return
    verdicts = sorted(plan.verdicts, key=_order)
    if verdicts:
        print_table(_HEADINGS, [_row(verdict, plan, names) for verdict in verdicts])
    for line in said(plan):
        click.echo(line)


def as_data(plan: FlushPlan, containers: Mapping[str, str]) -> dict[str, object]:
    """Everything of it, defaults too."""
    import msgspec

    from kube_gateway.control.flushing import CAUSES

    connections = []
    for verdict in sorted(plan.verdicts, key=_order):
        connection = msgspec.structs.asdict(verdict.connection)
        connection["container"] = _container(verdict.connection, containers)
        peer = plan.names.get(verdict.connection.remote_address, "")
        judged = {"fate": verdict.fate, "cause": verdict.cause, "why": CAUSES[verdict.cause]}
        connections.append({**connection, "peer": peer, **judged})
    return {
        "pod": plan.pod,
        "netflush": plan.flush,
        "gateway": plan.state,
        "standing": {**msgspec.structs.asdict(plan.standing), "percent": plan.standing.percent},
        "seconds": _seconds(plan),
        "left_out": plan.left_out,
        "connections": connections,
    }


def said(plan: FlushPlan) -> list[str]:
    """What is to be said below the table."""
    from kube_gateway.cli.standing import spelled

    lines = [f"{plan.pod}: {spelled(plan.standing)}"]
    fates = Counter(verdict.fate for verdict in plan.verdicts)
    if fates:
        told = ", ".join(f"{fates[fate]} would {_WOULD[fate]}" for fate in _WOULD if fates[fate])
        lines.append(f"{told}{_pace(plan)}")
    if plan.left_out:
        lines.append(f"{plan.left_out} more are not listed")
    if plan.verdicts and plan.flush == "never":
        lines.append("netflush is not set, so nothing is ended; this is what netflush=true would do")
    if plan.state != "ready":
        lines.append(f"its gateway is {plan.state}: nothing is ended before it is ready")
    return lines


def _pace(plan: FlushPlan) -> str:
    from kube_gateway.cli.output import duration

    seconds = _seconds(plan)
    return f", one after the other within about {duration(seconds)}" if seconds > 1 else ""


def _seconds(plan: FlushPlan) -> int:
    from kube_gateway.control.pace import seconds_needed

    return seconds_needed(verdict.connection for verdict in plan.verdicts if verdict.fate == "ends")


def _order(verdict: Verdict) -> tuple[int, str, int]:
    connection = verdict.connection
    return list(_WOULD).index(verdict.fate), connection.remote_address, connection.local_port


def _row(verdict: Verdict, plan: FlushPlan, containers: Mapping[str, str]) -> tuple[str, ...]:
    from kube_gateway.cli.output import duration
    from kube_gateway.control.flushing import CAUSES

    connection = verdict.connection
    peer = plan.names.get(connection.remote_address, "")
    return (
        str(connection.local_port),
        f"{peer}:{connection.remote_port}" if peer else _address(connection.remote_address, connection.remote_port),
        f">={duration(connection.age)}",
        duration(connection.idle),
        _owner(connection, containers),
        _because(connection),
        _WOULD[verdict.fate],
        CAUSES[verdict.cause],
    )


def _because(connection: ClearConnection) -> str:
    """Why it is in clear."""
    if connection.older:
        return "older"
    return "relayed" if connection.relayed else "outside"


def _owner(connection: ClearConnection, containers: Mapping[str, str]) -> str:
    if connection.relayed:
        return "gateway"
    process = f"{connection.process}({connection.pid})" if connection.pid else f"uid {connection.uid}"
    container = _container(connection, containers)
    return f"{container}: {process}" if container else process


def _container(connection: ClearConnection, containers: Mapping[str, str]) -> str:
    return next((name for identifier, name in containers.items() if identifier in connection.container), "") or (
        connection.container
    )


def _address(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
