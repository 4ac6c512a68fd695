"""`kube-gateway ai stats`: what gateways have counted of LLM calls, in a cluster or on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.kubernetes import cluster_options, connect
from kube_gateway.errors import KubeGatewayError, UsageError
from kube_gateway.local.instance import DEFAULT_INSTANCE

if TYPE_CHECKING:
    from kube_gateway.kube.client import KubernetesClient
    from kube_gateway.model.ai_report import AiReport, BudgetCount

_PODS = ("POD", "POLICY", "CALLS", "BLOCKED", "CHANGED", "INPUT", "OUTPUT")
_MODELS = ("MODEL", "CALLS", "BLOCKED", "FAILED", "INPUT", "OUTPUT", "ESTIMATED")
_RULES = ("RULE", "HITS", "IN SHADOW")
_BUDGETS = ("BUDGET", "MODEL", "WINDOW", "TOKENS USED", "RESERVED", "LEFT", "REQUESTS", "LEFT")


@click.command(short_help="Calls, tokens, what was blocked, and what is left of budgets")
@cluster_options
@click.option("-n", "--namespace", default="", help="Default: that of the kubeconfig's context.")
@click.option("-A", "--all-namespaces", is_flag=True, help="All of them.")
@click.option("--watcher-namespace", default="kube-gateway", show_default=True, help="Where the watcher is.")
@click.option(
    "--local",
    "instance",
    is_flag=False,
    flag_value=DEFAULT_INSTANCE,
    metavar="[INSTANCE]",
    help="Pods of this machine.",
)
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.argument("pod", required=False, default="")
def stats(
    kubeconfig: Path | None,
    context: str | None,
    *,
    namespace: str,
    all_namespaces: bool,
    watcher_namespace: str,
    instance: str | None,
    output: str,
    pod: str,
) -> None:
    """Show what pods' gateways have counted of LLM calls since their workers started, or all of one POD.

    In a cluster the figures are up to ten seconds old.
    """
    import asyncio

    if all_namespaces and (pod or namespace):
        raise UsageError(f"-A is all namespaces, and {'a pod' if pod else '-n'} means one")
    if instance is not None:
        found = _local(instance)
    else:
        client = connect(kubeconfig, context)
        where = "" if all_namespaces else namespace or client.namespace
        found = asyncio.run(_cluster(client, where, watcher_namespace))
    if pod:
        # On this machine all pods are of one namespace.
        found = {key: report for key, report in found.items() if key.partition("/")[2] == pod}
        if not found:
            raise KubeGatewayError(
                f"nothing is known of LLM calls of {pod}",
                hint=f"does it have the annotation kube-gateway.io/ai=true? kube-gateway status {pod}",
            )
    show(found, single=bool(pod), output=output, now=time.time())


def _local(instance: str) -> dict[str, AiReport]:
    from kube_gateway.local.client import LocalClient

    pods = LocalClient(instance).pods()
    return {f"{pod.namespace}/{pod.name}": pod.report.ai for pod in pods if pod.report is not None and pod.report.ai}


async def _cluster(client: KubernetesClient, namespace: str, watcher: str) -> dict[str, AiReport]:
    from kube_gateway.checks.asking import Refusal
    from kube_gateway.checks.reported import read_summary

    async with client:
        summary = await read_summary(client, watcher)
    if isinstance(summary, Refusal):
        raise KubeGatewayError(summary.message, hint=summary.hint)
    return {
        pod.key: pod.ai
        for pod in summary.pods
        if pod.ai is not None and (not namespace or pod.key.startswith(f"{namespace}/"))
    }


def show(found: dict[str, AiReport], *, single: bool, output: str, now: float) -> None:
    """Print reports by pod; `now` is in seconds since the epoch."""
    from kube_gateway.cli.output import print_json, print_table

    if output == "json":
        print_json([{"pod": key, "ai": _whole(report)} for key, report in found.items()])
        return
    if not found:
        click.echo("no pod's LLM calls pass a policy")
        return
    if not single:
        print_table(_PODS, [_of_pod(key, report) for key, report in found.items()])
        return
    ((key, report),) = found.items()
    _show_one(key, report, now=now)


def _show_one(key: str, report: AiReport, *, now: float) -> None:
    from kube_gateway.cli.output import print_table

    model = f", all calls go to {report.model}" if report.model else ""
    click.echo(f"{key}: policy {report.policy or 'none yet'} (revision {report.revision}, from {report.source}){model}")
    if report.refused:
        click.echo(f"policy {report.refused} is not used: {report.problem}")
    if report.models:
        rows = [
            tuple(
                map(str, (one.model or "-", one.calls, one.blocked, one.failed, one.input, one.output, one.estimated))
            )
            for one in report.models
        ]
        _section(_MODELS, rows)
    if report.blocked or report.changed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in report.blocked.items()) or "none"
        click.echo(f"\nblocked: {reasons}; changed: {report.changed}")
    rules = {**report.hits, **report.shadow_hits}
    if rules:
        shown = [(rule, str(report.hits.get(rule, 0)), str(report.shadow_hits.get(rule, 0))) for rule in rules]
        _section(_RULES, shown)
    if report.budgets:
        click.echo()
        print_table(_BUDGETS, [_of_budget(budget) for budget in report.budgets])


def _section(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from kube_gateway.cli.output import print_table

    click.echo()
    print_table(headings, rows)


def _of_pod(key: str, report: AiReport) -> tuple[str, ...]:
    return (
        key,
        report.policy or "none yet",
        str(sum(one.calls for one in report.models)),
        str(sum(report.blocked.values())),
        str(report.changed),
        str(sum(one.input for one in report.models)),
        str(sum(one.output for one in report.models)),
    )


def _of_budget(budget: BudgetCount) -> tuple[str, ...]:
    from kube_gateway.cli.output import duration

    left = "-" if budget.tokens is None else str(max(budget.tokens - budget.used - budget.reserved, 0))
    requests = "-" if budget.requests is None else str(max(budget.requests - budget.made, 0))
    return (
        budget.rule,
        budget.model or "(all)",
        duration(budget.window),
        str(budget.used),
        str(budget.reserved),
        left,
        str(budget.made),
        requests,
    )


def _whole(report: AiReport) -> dict[str, object]:
    """With the fields too that have their default values, which reports leave out to be small."""
    import msgspec

    asdict = msgspec.structs.asdict
    return {
        **asdict(report),
        "models": [asdict(one) for one in report.models],
        "budgets": [{name: value for name, value in asdict(one).items() if name != "parts"} for one in report.budgets],
    }
