"""`kube-gateway watch`: the watcher of a cluster. Runs in a pod of the cluster; see `kube-gateway install`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.duration import Duration
from kube_gateway.cli.kubernetes import cluster_options, connect
from kube_gateway.watcher.configuration import CONTROL_PORT

if TYPE_CHECKING:
    from kube_gateway.watcher.configuration import Configuration


@click.command(short_help="Watch a cluster, and put gateways into its pods")
@cluster_options
@click.option("--name", envvar="KUBE_GATEWAY_NAME", required=True, help="The watcher's pod.  [$KUBE_GATEWAY_NAME]")
@click.option("--namespace", envvar="KUBE_GATEWAY_NAMESPACE", default="kube-gateway", show_default=True)
@click.option(
    "--address", envvar="KUBE_GATEWAY_ADDRESS", required=True, help="The watcher's own.  [$KUBE_GATEWAY_ADDRESS]"
)
@click.option("--port", type=click.IntRange(1, 65535), default=CONTROL_PORT, show_default=True, help="For gateways.")
@click.option(
    "--control", default="", help="Where gateways look for it, tls:HOST:PORT; default: the watcher's Service."
)
@click.option(
    "--authority",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/etc/kube-gateway/authority"),
    show_default=True,
    help="Directory with ca-cert and ca-key; waited for.",
)
@click.option("--trust-domain", help="For a root that names none; default: cluster.local.")
@click.option("--image", default="", help="What gateways run; default: the image of the watcher's pod.")
@click.option(
    "--pull-policy",
    type=click.Choice(["IfNotPresent", "Always", "Never"]),
    default="IfNotPresent",
    show_default=True,
    help="Of gateways.",
)
@click.option(
    "--certificate-life", type=Duration(shortest=30), default="1h", show_default=True, help="Renewed at half of it."
)
@click.option("--podcidr", "capture_cidrs", default="", help="Default of the annotation podcidr.")
@click.option(
    "--privileged",
    type=click.Choice(["never", "when-needed", "always"]),
    default="never",
    show_default=True,
    help="Whether gateways may be privileged; nodes with cgroups of both versions need it.",
)
@click.option("--share-processes", is_flag=True, help="Gateways share the process namespace of the first container.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Serve figures of all pods for Prometheus, to whoever reaches it.  [default: nowhere]",
)
@click.option("--strict", is_flag=True, help="Every pod with encrypt=true is as with encrypt=strict.")
@click.option("--debug", is_flag=True, help="Say more.")
def command(kubeconfig: Path | None, context: str | None, *, debug: bool, **options: object) -> None:
    """Watch a cluster, and put gateways into the pods that are annotated."""
    from kube_gateway.gateway.logs import start_logging
    from kube_gateway.watcher.run import run_watcher

    start_logging(debug=debug)
    configuration = _configuration(options)
    client = connect(kubeconfig, context)

    async def run() -> None:
        async with client:
            await run_watcher(client, configuration)

    asyncio.run(run())


def _configuration(options: dict[str, object]) -> Configuration:
    import datetime

    import msgspec

    from kube_gateway.control.whereabouts import parse_whereabouts
    from kube_gateway.model.settings import settings_from_annotations
    from kube_gateway.watcher.configuration import Configuration

    if control := str(options["control"]):
        parse_whereabouts(control)
    if cidrs := str(options["capture_cidrs"]):
        settings_from_annotations({"kube-gateway.io/podcidr": cidrs})
    life = options.pop("certificate_life")
    assert isinstance(life, float)  # noqa: S101 - what the option's type gives
    options["target_first"] = options.pop("share_processes")
    return msgspec.convert({**options, "certificate_life": datetime.timedelta(seconds=life)}, Configuration)
