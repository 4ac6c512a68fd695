"""`kube-gateway status`: the pods of a cluster, which are encrypted, which are not, and why."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.kubernetes import cluster_options, connect
from kube_gateway.errors import UsageError

if TYPE_CHECKING:
    from kube_gateway.checks.cluster_pods import Enrolled
    from kube_gateway.checks.enrolment import PodView
    from kube_gateway.control.flush_plan import Standing
    from kube_gateway.kube.client import KubernetesClient

_BYTES = ("NAMESPACE", "POD", "MODE", "SENT", "TUNNEL", "TLS", "PLAIN", "UDP", "OTHER", "REFUSED", "UDP REFUSED")
_HEADINGS = ("NAMESPACE", "POD", "MODE", "STATE", "GATEWAY", "CERTIFICATE", "ENCRYPTED", "NOW", "WHY NOT")


@click.command(short_help="Pods of a cluster: which are encrypted, which are not, and why")
@cluster_options
@click.option("-n", "--namespace", default="", help="Default: that of the kubeconfig's context.")
@click.option("-A", "--all-namespaces", is_flag=True, help="All of them.")
@click.option("--watcher-namespace", default="kube-gateway", show_default=True, help="Where the watcher is.")
@click.option(
    "--output",
    type=click.Choice(["table", "bytes", "json"]),
    default="table",
    show_default=True,
    help="bytes: what has left the pods, and how.",
)
@click.argument("pod", required=False, default="")
def command(
    kubeconfig: Path | None,
    context: str | None,
    *,
    namespace: str,
    all_namespaces: bool,
    watcher_namespace: str,
    output: str,
    pod: str,
) -> int:
    """List the pods that are enrolled or annotated, or show one POD, with exit code 1 if it does not encrypt.

    CERTIFICATE is how long it is valid still. ENCRYPTED is the share of new connections that went through the tunnel,
    NOW the share of those that stand now, older ones included.

    With --output bytes: payload that left each pod since it is counted, in tunnels, as TLS of its own, as other TCP
    (PLAIN), by UDP, by anything else. SENT is the share that nobody on the wire could read. REFUSED is what was not let
    through because it was in clear: connections, and packets of UDP.
    """
    import asyncio

    if all_namespaces and (pod or namespace):
        raise UsageError(f"-A is all namespaces, and {'a pod' if pod else '-n'} means one")
    client = connect(kubeconfig, context)
    where = "" if all_namespaces else namespace or client.namespace
    enrolled = asyncio.run(_read(client, pod, where, watcher_namespace))
    return show(enrolled, single=bool(pod), output=output, now=time.time())


async def _read(client: KubernetesClient, pod: str, namespace: str, watcher: str) -> Enrolled:
    from kube_gateway.checks.cluster_pods import read_enrolled, read_pod

    async with client:
        if pod:
            return await read_pod(client, pod, watcher=watcher, namespace=namespace)
        return await read_enrolled(client, watcher=watcher, namespace=namespace)


def show(enrolled: Enrolled, *, single: bool, output: str, now: float) -> int:
    """Print pods; returns the exit code. `now` is in seconds since the epoch. Raises `KubernetesError`."""
    from kube_gateway.checks.asking import Refusal
    from kube_gateway.cli.output import print_json, print_table
    from kube_gateway.kube.refusals import Forbidden

    pods = enrolled.pods
    if isinstance(pods, Refusal):
        raise Forbidden(pods.message, status=403, hint=pods.hint)
    if output == "json":
        print_json({"time": _told_at(enrolled), "pods": [_whole(pod) for pod in pods]})
    elif pods and output == "bytes":
        print_table(_BYTES, [_bytes_row(pod) for pod in pods])
    elif pods:
        print_table(_HEADINGS, [_row(pod, now=now) for pod in pods])
    _warn(enrolled, pods, now=now)
    if output != "json" and not single:
        click.echo(_totals(pods))
    if output != "json":
        _say_what_stands(pods)
    return 1 if single and any(pod.state != "encrypting" for pod in pods) else 0


def _row(pod: PodView, *, now: float) -> tuple[str, ...]:
    from kube_gateway.cli import standing
    from kube_gateway.cli.output import duration

    said = pod.reported
    told = said is not None and bool(said.version)
    expires = said.certificate_expires if said is not None else 0.0
    life = "-" if not expires else duration(expires - now) if expires > now else "ended"
    return (
        pod.namespace,
        pod.name,
        pod.mode or "-",
        pod.state,
        str(pod.generation or "-"),
        life,
        _share(*_streams((pod,))),
        standing.share(_standing((pod,))) if told else "-",
        pod.reason or "-",
    )


def _bytes_row(pod: PodView) -> tuple[str, ...]:
    from kube_gateway.cli.sent import share_encrypted, size
    from kube_gateway.model.sent import KINDS

    said = pod.reported
    if said is None or not said.sent:
        return (pod.namespace, pod.name, pod.mode or "-", *("-",) * (len(_BYTES) - 3))
    return (
        pod.namespace,
        pod.name,
        pod.mode or "-",
        share_encrypted(said.sent),
        *(size(said.sent.get(kind, 0)) for kind in KINDS),
        str(said.refused_in_clear),
        str(said.udp_refused),
    )


def _sent(pods: tuple[PodView, ...]) -> dict[str, int]:
    """Bytes that left all pods, by kind; empty if nobody has said."""
    total: dict[str, int] = {}
    for pod in pods:
        for kind, count in pod.reported.sent.items() if pod.reported is not None else ():
            total[kind] = total.get(kind, 0) + count
    return total


def _streams(pods: tuple[PodView, ...]) -> tuple[int, int]:
    """New connections so far: encrypted, and all. A gateway with encryption off tunnels in clear."""
    said = [(pod.mode, pod.reported) for pod in pods if pod.reported is not None]
    encrypted = sum(one.tunnelled for mode, one in said if mode not in {"off", "none"})
    return encrypted, sum(one.tunnelled + one.clear for _, one in said)


def _standing(pods: tuple[PodView, ...]) -> Standing:
    from kube_gateway.control.flush_plan import Standing

    said = [pod.reported for pod in pods if pod.reported is not None]
    return Standing(
        encrypted=sum(one.encrypted_connections for one in said), clear=sum(one.clear_connections for one in said)
    )


def _say_what_stands(pods: tuple[PodView, ...]) -> None:
    from kube_gateway.cli.standing import added, reasons, spelled

    said = [pod.reported for pod in pods if pod.reported is not None]
    if any(one.version for one in said):
        click.echo(spelled(_standing(pods)))
    lines = reasons(added([one.clear_causes for one in said]), older=sum(one.clear_older for one in said))
    for line in lines:
        click.echo(line)
    if lines:
        where = f"-n {pods[0].namespace} {pods[0].name}" if len(pods) == 1 else "-n NAMESPACE POD"
        click.echo(f"  one by one: kube-gateway flush {where} --dry-run")


def _share(encrypted: int, total: int) -> str:
    if not total:
        return "-"
    # Rounded down: 100 % is to mean all of them.
    return f"{100 * encrypted // total}% of {total}"


def _warn(enrolled: Enrolled, pods: tuple[PodView, ...], *, now: float) -> None:
    """Say in full why pods do not encrypt, once for all that have the same reason, and what is not known."""
    from kube_gateway.checks.asking import Refusal
    from kube_gateway.checks.reported import FRESH
    from kube_gateway.cli.output import duration

    same: dict[tuple[str, str], list[str]] = {}
    for pod in pods:
        if pod.reason:
            # The same hint for another pod is the same hint.
            hint = pod.hint.replace(f"-n {pod.namespace} {pod.name}", "-n NAMESPACE POD")
            same.setdefault((pod.message, hint), []).append(pod.key)
    for (message, hint), keys in same.items():
        namespace, _, name = keys[0].partition("/")
        others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        exact = hint if others else hint.replace("-n NAMESPACE POD", f"-n {namespace} {name}")
        _say(f"{keys[0]}{others}: {message}", exact)
    if enrolled.blind is not None:
        _say(f"pods that their namespace enrols are not known: {enrolled.blind.message}", enrolled.blind.hint)
    summary = enrolled.summary
    if isinstance(summary, Refusal):
        _say(f"what gateways carry is not known: {summary.message}", summary.hint)
    elif now - summary.time > FRESH:
        _say(f"what gateways carry is as it was {duration(now - summary.time)} ago", "kube-gateway check")
    elif summary.left_out:
        _say(f"the watcher's summary has no room for all pods, {summary.left_out} are left out", "")


def _say(message: str, hint: str) -> None:
    click.echo(f"warning: {message}", err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def _totals(pods: tuple[PodView, ...]) -> str:
    from kube_gateway.cli.sent import in_clear, share_encrypted

    if not pods:
        return "no pod is enrolled"
    states: dict[str, int] = {}
    for pod in pods:
        states[pod.state] = states.get(pod.state, 0) + 1
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    parts = [f"{len(pods)} pod{'s' if len(pods) > 1 else ''}: {told}"]
    encrypted, total = _streams(pods)
    if total:
        parts.append(f"{_share(encrypted, total)} connections encrypted")
    if sent := _sent(pods):
        parts.append(f"{share_encrypted(sent)} sent encrypted, {in_clear(sent)} in clear")
    return "; ".join(parts)


def _told_at(enrolled: Enrolled) -> float | None:
    """When the summary was written, None if there is none."""
    from kube_gateway.watcher.summary import Summary

    return enrolled.summary.time if isinstance(enrolled.summary, Summary) else None


def _whole(pod: PodView) -> dict[str, object]:
    """With the fields too that have their default values, which the summary leaves out to be small."""
    import msgspec

    fields = msgspec.structs.asdict(pod)
    return {**fields, "reported": msgspec.structs.asdict(pod.reported) if pod.reported is not None else None}
