"""Connections that policies have denied lately, as rows of a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kube_gateway.model.flow import AccessReport

HEADINGS = ("DENIED", "PORT", "BY", "TIMES", "LAST")


def rows(access: AccessReport) -> list[tuple[str, ...]]:
    """The latest first."""
    from kube_gateway.cli.output import duration

    now = time.time()
    return [
        (
            denial.peer,
            str(denial.port),
            f"{denial.policy} {f'rule {denial.rule}' if denial.rule else 'default'}"
            + (" (dry run, let pass)" if denial.dry_run else ""),
            str(denial.count),
            f"{duration(max(now - denial.last, 0.0))} ago",
        )
        for denial in access.denials
    ]
