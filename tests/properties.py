"""How many cases property tests try: enough for every run, many more when KUBE_GATEWAY_LONG is set."""

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("KUBE_GATEWAY_LONG", "") not in ("", "0")
TIMES_LONGER = 20


def cases(count: int) -> settings:
    """Settings for a property that is tried `count` times, and many times more in the long mode."""
    return settings(
        max_examples=count * (TIMES_LONGER if LONG else 1),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
