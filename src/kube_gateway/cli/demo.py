"""`kube-gateway demo`: two running pods, in clear and then encrypted, judged by what crosses the wire."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from kube_gateway.demo.evidence import Stage
    from kube_gateway.demo.narrate import Style
    from kube_gateway.demo.scenario import Demo


@click.command(short_help="Two running pods, in clear and then encrypted")
@click.option("--instance", default="demo", show_default=True, help="Instance of the local mode to make and remove.")
@click.option(
    "--captures",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("out/demo"),
    show_default=True,
    help="Directory that keeps one pcap file of each stage.",
)
@click.option("--keep", is_flag=True, help="Leave the pods running.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(instance: str, captures: Path, keep: bool, output: str) -> None:
    """Enrol two running programs one after the other, and show what can be read on the wire before and after.

    Needs root. Exit status 1 if any stage does not show what it must.
    """
    from kube_gateway.demo.scenario import Demo

    signal.signal(signal.SIGTERM, _interrupt)
    demo = Demo(instance, captures=captures.absolute())
    try:
        if output == "json":
            _as_json(demo)
        else:
            _as_text(demo, instance)
    finally:
        # From here on an impatient second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if keep and demo.made:
            click.echo(f"kept: kube-gateway local --instance {instance} pods (`down` removes it)", err=True)
        else:
            demo.end()


def _as_text(demo: Demo, instance: str) -> None:
    from kube_gateway.demo import narrate

    style = _style()
    started = time.monotonic()
    pods = demo.begin()
    click.echo(narrate.opening([(pod.name, pod.addresses[0], pod.pids[0]) for pod in pods], style=style))
    last: Stage | None = None
    for number, last in enumerate(demo.stages(), start=1):
        click.echo(narrate.stage(number, last, instance=instance, style=style))
    if last is not None:
        seconds = time.monotonic() - started
        click.echo(narrate.closing(last, captures=str(demo.captures), seconds=seconds, style=style))


def _as_json(demo: Demo) -> None:
    """Print all evidence, also when a stage does not hold; the error follows."""
    from kube_gateway.cli.output import print_json

    started = time.monotonic()
    stages: list[Stage] = []
    passed = False
    try:
        demo.begin()
        for stage in demo.stages():
            stages.append(stage)
        passed = True
    finally:
        if stages:
            seconds = round(time.monotonic() - started, 3)
            print_json({"passed": passed, "seconds": seconds, "captures": str(demo.captures), "stages": stages})


def _style() -> Style:
    from kube_gateway.demo.narrate import Style

    return Style(colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
