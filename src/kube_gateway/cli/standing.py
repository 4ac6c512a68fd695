"""Of the connections that stand, how many are encrypted, and what is with the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kube_gateway.control.flush_plan import Standing
    from kube_gateway.control.flushing import Cause


def share(standing: Standing) -> str:
    """For a column: `90%`; rounded down, so that 100 % means all."""
    return "-" if standing.percent is None else f"{standing.percent}%"


def spelled(standing: Standing) -> str:
    """The same as a sentence."""
    if standing.percent is None:
        return "no connection stands"
    total = standing.encrypted + standing.clear
    return f"{standing.encrypted} of {total} connections that stand are encrypted ({standing.percent}%)"


def reasons(causes: Mapping[Cause, int] | Mapping[str, int], *, older: int) -> list[str]:
    """Why some stand in clear, a line each; `causes` are those of flushing, `older` began before their gateway."""
    from kube_gateway.control.flushing import CAUSES

    explained = {str(cause): text for cause, text in CAUSES.items()}
    lines = [
        # A cause that only a newer watcher knows is told as the word that it is.
        f"  {number} in clear: {explained.get(cause, cause)}"
        for cause, number in sorted(causes.items(), key=lambda item: (-item[1], item[0]))
    ]
    return [*lines, f"  {older} of them began before the gateway"] if older else lines


def added(causes: list[Mapping[str, int]]) -> dict[str, int]:
    """Those of several pods."""
    total: Counter[str] = Counter()
    for of_pod in causes:
        total.update(of_pod)
    return dict(total)
