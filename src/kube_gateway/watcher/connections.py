"""The connections in clear of all pods, one by one, published for `kube-gateway flush --dry-run`.

They are told where the summary is (see there), as another key of the same ConfigMap, and within what that leaves of its
size. Where that is not enough every pod tells fewer of them, and how many it left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kube_gateway.control.flush_plan import FlushPlan
from kube_gateway.control.pace import ends_of

KEY = "connections"

LARGEST = 160 * 1024
"""Bytes of JSON."""

_OF_A_POD = (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1, 0)


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """Of all pods that have any, at `time` (seconds since the epoch). `left_out`: pods for which there was no room."""

    time: float
    plans: tuple[FlushPlan, ...] = ()
    left_out: int = 0


def within(plans: Sequence[FlushPlan], most: int, *, time: float) -> Connections:
    """As many connections of each pod as fit into `most` bytes of JSON, the same number of all."""
    for number in _OF_A_POD:
        shortened = tuple(_shortened(plan, number) for plan in plans)
        found = Connections(time=time, plans=shortened)
        if len(msgspec.json.encode(found)) <= most:
            return found
    kept, size = [], len(msgspec.json.encode(Connections(time=time, left_out=len(plans))))
    for plan in shortened:
        size += len(msgspec.json.encode(plan)) + 1
        if size > most:
            break
        kept.append(plan)
    return Connections(time=time, plans=tuple(kept), left_out=len(plans) - len(kept))


def is_news(found: Connections, written: Connections) -> bool:
    """Whether other connections stand, or something else becomes of them; that time goes by and data flow is no news."""
    return _what_counts(found) != _what_counts(written)


def _what_counts(connections: Connections) -> tuple[object, ...]:
    return (
        connections.left_out,
        *(
            (plan.pod, plan.flush, plan.state, tuple((ends_of(each.connection), each.cause) for each in plan.verdicts))
            for plan in connections.plans
        ),
    )


def _shortened(plan: FlushPlan, most: int) -> FlushPlan:
    if len(plan.verdicts) <= most:
        return plan
    kept = plan.verdicts[:most]
    addresses = {verdict.connection.remote_address for verdict in kept}
    return msgspec.structs.replace(
        plan,
        verdicts=kept,
        left_out=plan.left_out + len(plan.verdicts) - most,
        names={address: name for address, name in plan.names.items() if address in addresses},
    )
