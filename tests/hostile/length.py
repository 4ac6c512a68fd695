"""How long tests of hostile conditions take: in full, or short with KUBE_GATEWAY_SHORT, as CI runs them."""

from __future__ import annotations

import os
from typing import TypeVar

SHORT = os.environ.get("KUBE_GATEWAY_SHORT", "") not in ("", "0")

Amount = TypeVar("Amount", int, float)


def amount(*, full: Amount, short: Amount) -> Amount:
    """How much of something to try in this run."""
    return short if SHORT else full
