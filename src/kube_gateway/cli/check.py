"""`kube-gateway check`: is the cluster fit for kube-gateway, and is kube-gateway well in it?"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.kubernetes import cluster_options, connect

if TYPE_CHECKING:
    from kube_gateway.checks.model import Finding, Result
    from kube_gateway.checks.runner import Report
    from kube_gateway.checks.session import Session

_WIDTH = 100
_MARGIN = " " * 11
_MOST_FINDINGS = 10


@click.command(short_help="Whether a cluster is fit for kube-gateway, and all is well in it")
@cluster_options
@click.option("--pre", is_flag=True, help="Before the installation: can it be installed?")
@click.option("--namespace", default="kube-gateway", show_default=True, help="Of the watcher.")
@click.option(
    "--wait", type=click.FloatRange(0), default=0, metavar="SECONDS", help="Check again what may come right soon."
)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def command(
    ctx: click.Context,
    kubeconfig: Path | None,
    context: str | None,
    *,
    pre: bool,
    namespace: str,
    wait: float,
    output: str,
) -> int:
    """Check that a cluster is fit for kube-gateway, and that kube-gateway is well in it.

    Exit code 0: all is well, perhaps with warnings; 1: something is not.
    """
    import asyncio

    from kube_gateway.checks.session import Session
    from kube_gateway.cli.output import print_json
    from kube_gateway.kube.refusals import KubernetesError

    printer = Printer()
    try:
        session = Session(connect(kubeconfig, context), namespace=namespace)
    except KubernetesError as error:
        session = Session(error, namespace=namespace)
    report = asyncio.run(_run(session, printer, pre=pre, wait=wait, text=output == "text"))
    if output == "json":
        print_json({"ok": report.ok, "results": report.results, "not_checked": report.not_checked})
    else:
        printer.end(report)
    return 0 if report.ok else 1


async def _run(session: Session, printer: Printer, *, pre: bool, wait: float, text: bool) -> Report:
    from kube_gateway.checks.catalogue import AFTER_INSTALLATION, BEFORE_INSTALLATION
    from kube_gateway.checks.runner import run_checks

    async with session:
        return await run_checks(
            session,
            BEFORE_INSTALLATION if pre else AFTER_INSTALLATION,
            wait=wait,
            tell=printer.result if text else lambda _: None,
            waiting=lambda what: click.echo(f"waiting until {what}", err=True),
        )


class Printer:
    """Prints results as they come, under the heading of their category."""

    def __init__(self) -> None:
        self._category = ""

    def result(self, result: Result) -> None:
        """Print one."""
        if result.category != self._category:
            if self._category:
                click.echo()
            click.echo(result.category)
            self._category = result.category
        said = f" ({result.message})" if result.message and result.status == "ok" else ""
        first, *others = _wrapped(f"{result.description}{said}")
        click.echo(f"  {result.status:<7}  {first}")
        _print_all(others)
        if result.status != "ok":
            _print_all(_wrapped(result.message))
        for found in result.findings[:_MOST_FINDINGS]:
            _print_finding(found)
        if len(result.findings) > _MOST_FINDINGS:
            _print_all([f"and {len(result.findings) - _MOST_FINDINGS} more; --output json has all"])
        if result.hint:
            # Not cut into lines: it is to be copied.
            _print_all([f"hint: {result.hint}"])

    def end(self, report: Report) -> None:
        """Print what it comes to."""
        click.echo()
        if report.not_checked:
            names = dict.fromkeys(name.partition(":")[0] for name in report.not_checked)
            click.echo(f"{len(report.not_checked)} checks were not made, in {', '.join(names)}")
        counts = {status: sum(result.status == status for result in report.results) for status in _WORDS}
        told = ", ".join(f"{counts[status]} {word}" for status, word in _WORDS.items() if counts[status])
        click.echo(told)


_WORDS = {"ok": "ok", "warning": "with a warning", "failed": "failed"}


def _print_finding(found: Finding) -> None:
    about = f"{found.about}: " if found.about else ""
    _print_all(_wrapped(f"- {about}{found.message}", further="  "))
    if found.hint:
        _print_all([f"  hint: {found.hint}"])


def _print_all(lines: Sequence[str]) -> None:
    for line in lines:
        click.echo(f"{_MARGIN}{line}")


def _wrapped(text: str, *, further: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH - len(_MARGIN),
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
