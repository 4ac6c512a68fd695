"""`kube-gateway ai`: policies for LLM calls, tried out before they are applied."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kube_gateway.cli.ai_stats import stats
from kube_gateway.cli.output import output_option
from kube_gateway.errors import UsageError

if TYPE_CHECKING:
    from kube_gateway.ai.policy.lint import Remark
    from kube_gateway.ai.policy.schema import Policy
    from kube_gateway.ai.rehearsal import Rehearsed

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))


@click.group()
def command() -> None:
    """Control of LLM calls: policies, detectors, and what was counted."""


command.add_command(stats)


@command.group()
def policy() -> None:
    """Check a policy, say what it does, and try it on recorded requests."""


@policy.command()
@_FILE
@output_option
def lint(file: Path, output: str) -> int:
    """Check FILE (YAML or JSON, - for stdin): errors, and what is most likely not meant.

    Exit code 0: nothing was found; 1: there are remarks; 2: the policy is wrong.
    """
    from kube_gateway.cli.output import print_json

    found, remarks = _linted(file)
    if output == "json":
        print_json({"hash": found.hash, "rules": len(found.rules), "remarks": remarks})
        return 1 if remarks else 0
    for remark in remarks:
        name = f" ({remark.rule})" if remark.rule else ""
        click.echo(f"{remark.at}{name}: {remark.message}")
        if remark.hint:
            click.echo(f"  hint: {remark.hint}")
    count = f"{len(found.rules)} rule{'' if len(found.rules) == 1 else 's'}"
    click.echo(f"{count}, {len(remarks)} remark{'' if len(remarks) == 1 else 's'}" if remarks else f"{count}, all well")
    return 1 if remarks else 0


def _linted(file: Path) -> tuple[Policy, list[Remark]]:
    from kube_gateway.ai.dialects import endpoints
    from kube_gateway.ai.policy.compile import Snapshot
    from kube_gateway.ai.policy.lint import Remark, lint
    from kube_gateway.ai.policy.read import read_with_remarks

    found, ignored = read_with_remarks(_text(file))
    Snapshot(found, model="", served=endpoints())
    remarks = [Remark(at=at, message=message) for at, _, message in (one.partition(": ") for one in ignored)]
    return found, [*remarks, *lint(found, served=endpoints())]


@policy.command()
@_FILE
@click.option("--model", default="", metavar="NAME", help="Only what happens to calls that ask for this model.")
@output_option
def explain(file: Path, model: str, output: str) -> None:
    """Say what happens to a call under the policy in FILE, in the order in which it happens."""
    from kube_gateway.ai.dialects import endpoints
    from kube_gateway.ai.policy.compile import Snapshot
    from kube_gateway.ai.policy.explain import explain, named
    from kube_gateway.ai.policy.read import read_policy
    from kube_gateway.cli.output import print_json

    found = read_policy(_text(file))
    snapshot = Snapshot(found, model="", served=endpoints())
    way = named(snapshot, model) if model else None
    steps = explain(found, model=way.name if way is not None else "")
    if output == "json":
        print_json({"model": way, "steps": steps})
        return
    if way is not None:
        click.echo(way.sentence)
        if way.denied:
            return
        click.echo()
    for step in steps:
        click.echo(step.title)
        for sentence in step.sentences:
            click.echo(f"  {sentence}")


@policy.command()
@_FILE
@click.argument(
    "requests", type=click.Path(path_type=Path, dir_okay=False), nargs=-1, required=True, metavar="REQUESTS..."
)
@click.option("--ai-model", default="", metavar="NAME", help="As if the pod had the annotation ai-model.")
@click.option(
    "--expect", type=click.Choice(["pass", "changed", "blocked"]), help="Exit code 1 if another becomes of a request."
)
@output_option
def test(file: Path, requests: tuple[Path, ...], *, ai_model: str, expect: str | None, output: str) -> int:
    """Show what the policy in FILE would do to recorded requests.

    REQUESTS are files of JSON lines, {"path": "/v1/chat/completions", "body": {...}}, with "response" for an answer and
    "expect" for what is to become of it; or one raw HTTP request a file.

    Exit code 0: all is as expected; 1: it is not.
    """
    import msgspec

    from kube_gateway.ai.policy.read import read_policy
    from kube_gateway.ai.recorded import read_recorded
    from kube_gateway.ai.rehearsal import Rehearsal
    from kube_gateway.cli.output import print_json

    rehearsal = Rehearsal(read_policy(_text(file)), model=ai_model)
    done: list[Rehearsed] = []
    for path in requests:
        for recorded in read_recorded(path):
            wanted = recorded if recorded.expect or not expect else msgspec.structs.replace(recorded, expect=expect)
            done.append(rehearsal.run(wanted))
            if output == "text":
                _print_rehearsed(done[-1])
    if output == "json":
        print_json([msgspec.structs.asdict(one) for one in done])
    else:
        results = dict.fromkeys(one.result for one in done)
        click.echo(", ".join(f"{sum(one.result == result for one in done)} {result}" for result in results))
    return 0 if all(one.expected for one in done) else 1


def _print_rehearsed(one: Rehearsed) -> None:
    models = f", model {one.model}" if one.model else ""
    if one.sent_model != one.model:
        models += f" -> {one.sent_model}"
    click.echo(f"{one.where}: {one.method} {one.path}{models}: {one.result}{'' if one.expected else ' (not expected)'}")
    for title, counts in (("rules", one.rules), ("shadow", one.shadow)):
        if counts:
            told = ", ".join(f"{name}{f' {count} times' if count > 1 else ''}" for name, count in counts.items())
            click.echo(f"  {title}: {told}")
    for title, lines in (("request", one.request), ("answer", one.answer)):
        if lines:
            click.echo(f"  {title}")
            for line in lines:
                click.echo(f"    {line}")
    if one.refused and not one.answer:
        click.echo(f"  the client gets {one.status}: {one.refused}")


@policy.command()
def schema() -> None:
    """Print the JSON Schema of policies, for editors."""
    from kube_gateway.ai.policy.schema import json_schema
    from kube_gateway.cli.output import print_json

    print_json(json_schema())


@command.command()
@output_option
def detectors(output: str) -> None:
    """List what rules of the kind `detect` can find."""
    from kube_gateway.ai.detect import DETECTORS
    from kube_gateway.ai.policy.patterns import GROUPS
    from kube_gateway.cli.output import print_json, print_table

    if output == "json":
        print_json({"detectors": {one.name: one.about for one in DETECTORS.values()}, "groups": GROUPS})
        return
    rows = [(one.name, one.about) for one in DETECTORS.values()]
    rows += [(name, f"All of {', '.join(members)}.") for name, members in GROUPS.items()]
    print_table(("DETECTOR", "FINDS"), rows)


def _text(file: Path) -> str:
    from kube_gateway.policy_text import MOST_CHARACTERS

    try:
        if str(file) == "-":
            return sys.stdin.read(MOST_CHARACTERS + 1)
        with file.open(encoding="utf-8") as opened:
            return opened.read(MOST_CHARACTERS + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8: {error.reason} at byte {error.start}") from None
