"""What a gateway reports of LLM calls: which policy is in force, what has been counted, and what is left of budgets.

All of it is bounded, whatever names of models an application thinks of: see `MOST_MODELS`.
"""

from __future__ import annotations

import hashlib

import msgspec

MOST_MODELS = 64
"""Models that are counted by name; what goes to any other counts for `OTHER_MODELS`."""

OTHER_MODELS = "(other)"

MOST_BUDGETS = 256
"""Windows of budgets, by budget and model, that are reported and survive a gateway."""

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


class BudgetCount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One window of one budget: `key` names the budget (and the model, where each has its own).

    `start` is when the window began, in seconds since the epoch, `seconds` its length. `used` is settled, `reserved` what
    calls that run may still use; `limit` as the policy has it.
    """

    key: str
    start: float
    seconds: float
    limit: int
    used: int = 0
    reserved: int = 0


class AiReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The state of AI control in one gateway. `policy` is `policy_name` of the text in force, empty before the first.

    `revision` counts policies since the gateway started. `refused` is the name of a policy that this gateway does not
    understand, and `problem` why. `hits` and `shadow_hits` count matches by rule, `blocked` calls by reason. `masked` counts
    answers and prompts that were changed.
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
    masked: int = 0
    budgets: tuple[BudgetCount, ...] = ()


def policy_name(text: str) -> str:
    """What a policy is called in logs and reports: the first 12 hexadecimal digits of its text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
