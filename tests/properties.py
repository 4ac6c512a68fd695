"""How many cases property tests try: enough for every run, many more when KUBE_GATEWAY_LONG is set."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

LONG = os.environ.get("KUBE_GATEWAY_LONG", "") not in ("", "0")
TIMES_LONGER = 20


def cases(count: int) -> Callable[[Any], Any]:
    """Try a property `count` times, and in the long mode many times more, however long that takes."""
    tried = settings(
        max_examples=count * (TIMES_LONGER if LONG else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return lambda test: pytest.mark.timeout(0 if LONG else 600)(tried(test))
