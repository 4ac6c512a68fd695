"""Tables and JSON on stdout, the same for every verb."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import msgspec

output_option = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
"""For verbs that say something to people or to programs."""


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:  # noqa: ANN401 - anything that msgspec can encode
    """Print `value` as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def duration(seconds: float) -> str:
    """A length of time as a person says it: 12s, 5m, 3h, 2d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
