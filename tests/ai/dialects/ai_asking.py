"""What was asked for, in tests; and the part of a recorded stream that went out before it was ended."""

from __future__ import annotations

from kube_gateway.ai.dialect import Asked, Dialect, Outcome
from kube_gateway.ai.dialects import dialects

SAYS_NO = "kube-gateway says no"

REASONS = [
    ("blocked", 403),
    ("model_denied", 403),
    ("endpoint_denied", 403),
    ("tool_denied", 403),
    ("too_large", 413),
    ("not_understood", 400),
    ("budget_exhausted", 429),
    ("rate_limited", 429),
    ("policy_failed", 500),
    ("policy_failed", 503),
]


def dialect(name: str) -> Dialect:
    return next(each for each in dialects() if each.name == name)


def asked(dialect_name: str, endpoint: str, **options) -> Asked:
    found = next(each for each in dialect(dialect_name).endpoints if each.name == endpoint)
    return Asked(**{"endpoint": found, "model": "gemma2:2b", "streaming": False, "wants_usage": False, **options})


def outcome(**seen) -> Outcome:
    return Outcome(**seen)
