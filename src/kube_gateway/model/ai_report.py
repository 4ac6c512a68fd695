"""What a gateway reports of LLM calls: which policy is in force, what has been counted, and what is left of budgets.

All of it is bounded, whatever names of models an application thinks of: see `MOST_MODELS`.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

MOST_MODELS = 64
"""Models that are counted by name; what goes to any other counts for `OTHER_MODELS`."""

OTHER_MODELS = "(other)"

LARGEST_BUDGETS = 96 * 1024
"""Bytes of JSON of the counters that are reported and survive a gateway: hundreds of them, the fullest first."""

MOST_RULES = 100
"""Rules whose matches are reported, those with the most."""

LARGEST_POLICY = 1024 * 1024
"""Bytes of a policy's text, as many as a ConfigMap holds."""


class ModelCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Calls to one model since the gateway's worker started. `estimated`: how many tokens nobody but us has counted."""

    model: str
    calls: int = 0
    blocked: int = 0
    failed: int = 0
    input: int = 0
    output: int = 0
    estimated: int = 0


class BudgetPart(msgspec.Struct, frozen=True, array_like=True):
    """What was taken from `start` on (seconds since the epoch): tokens, with those that are reserved, and requests."""

    start: float
    tokens: int
    requests: int


class BudgetCount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The counter of one budget or rate, by the name of its rule, and by model where each has its own.

    `window` is in seconds. `tokens` and `requests` are what the rule allows. `used` tokens are settled, `reserved` ones may
    still be used by calls that run; `made` are requests. `parts` are what another gateway goes on with.
    """

    rule: str
    model: str = ""
    kind: Literal["budget", "rate"] = "budget"
    window: int
    tokens: int | None = None
    requests: int | None = None
    used: int = 0
    reserved: int = 0
    made: int = 0
    parts: tuple[BudgetPart, ...] = ()


class AiReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of AI control in one gateway. `policy` is `policy_name` of the text in force, empty before the first.

    `revision` counts policies since the gateway started. `refused` is the name of a policy that this gateway does not
    understand, and `problem` why. All counts are since the worker started: `hits` and `shadow_hits` are matches by rule,
    `blocked` is calls by reason, `changed` calls of which the prompt or the answer was changed.
    """

    policy: str = ""
    revision: int = 0
    source: str = ""
    model: str = ""
    refused: str = ""
    problem: str = ""
    models: tuple[ModelCounts, ...] = ()
    hits: dict[str, int] = {}
    shadow_hits: dict[str, int] = {}
    blocked: dict[str, int] = {}
    changed: int = 0
    budgets: tuple[BudgetCount, ...] = ()


def policy_name(text: str) -> str:
    """What a policy is called in logs and reports: the first 12 hexadecimal digits of its text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def shortened(report: AiReport, *, most: int = 10) -> AiReport:
    """Return the report with what matters most to people: of models, rules and budgets those with the most."""
    models = sorted(report.models, key=lambda one: one.calls, reverse=True)[:most]
    budgets = sorted(report.budgets, key=lambda one: one.used + one.reserved + one.made, reverse=True)[:most]
    return msgspec.structs.replace(
        report,
        models=tuple(models),
        hits=_most(report.hits, most),
        shadow_hits=_most(report.shadow_hits, most),
        budgets=tuple(msgspec.structs.replace(one, parts=()) for one in budgets),
    )


def _most(hits: dict[str, int], most: int) -> dict[str, int]:
    return dict(sorted(hits.items(), key=lambda hit: -hit[1])[:most])
