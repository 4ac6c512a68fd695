"""Reads policies: the text of a file or a ConfigMap becomes a `Policy`, or an error that names the field."""

from __future__ import annotations

import msgspec

from kube_gateway.ai.policy.original import is_original, read_original
from kube_gateway.ai.policy.problems import problem
from kube_gateway.ai.policy.schema import EMPTY, Policy
from kube_gateway.policy_text import PolicyError, parse

__all__ = ["PolicyError", "read_policy", "read_with_remarks"]


def read_policy(text: str) -> Policy:
    """Return what `text` (YAML or JSON, of today's schema or of the first kube-gateway's) says; empty: nothing.

    Raises `PolicyError`, whose message begins with the field, as `rules[2].maxTokens: ...`.
    """
    return read_with_remarks(text)[0]


def read_with_remarks(text: str) -> tuple[Policy, tuple[str, ...]]:
    """As `read_policy`, with what was ignored on purpose."""
    value = parse(text)
    if value is None or value == {}:
        return EMPTY, ()
    try:
        if is_original(value):
            policy, unknown = read_original(value)
            return policy, tuple(f"{name}: no such member, it is ignored" for name in unknown)
        return msgspec.convert(value, Policy), ()
    except msgspec.ValidationError as error:
        raise problem(str(error), value) from None
