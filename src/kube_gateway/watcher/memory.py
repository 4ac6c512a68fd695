"""What only the watcher's memory can tell of a pod: its gateways' lines, and what was done that is perhaps not seen yet.

All of it may be lost: a watcher that starts knows what the API shows, and the gateways connect again.
"""

from __future__ import annotations

import math
import time

from kube_gateway.control.connected import ConnectedGateway
from kube_gateway.control.observed import Obstacle
from kube_gateway.model.ai_report import BudgetCount
from kube_gateway.watcher.condition import Claim

RETRY_REFUSED = 300.0
"""Seconds after which a gateway that an admission plugin refused is tried again, if its namespace does not change."""


class PodMemory:
    """Of one pod. `lines` are by generation; `started` is the generation added last, 0 for none.

    `since` is the monotonic time from which on the pod is known. `images` are those that generations were asked for with,
    `ended` the times (since the epoch, by the watcher's clock) at which they were seen to have ended.

    `told` is the message of the problem told last, empty when there was none, None when this watcher has not told anything.
    `claimed` is what was last written into each condition, and the resourceVersion of the pod that was known then.

    `secret` says whether the pod has a Secret, None when this watcher has neither written nor removed one;
    `secret_written_at` is monotonic. `namespace_changes` counts how often the pod's namespace did.
    """

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.since = time.monotonic()
        self.addresses: tuple[str, ...] = ()
        self.lines: dict[int, ConnectedGateway] = {}
        self.started = 0
        self.images: dict[int, str] = {}
        self.ended: dict[int, float] = {}
        self.told: str | None = None
        self.claimed: dict[str, tuple[str, Claim]] = {}
        self.secret: bool | None = None
        self.secret_written_at = -math.inf
        self.namespace_changes = 0
        self._refusal: Obstacle | None = None
        self._refused_until = 0.0

    def refused(self, obstacle: Obstacle) -> None:
        """No gateway may be added."""
        self._refusal = obstacle
        self._refused_until = time.monotonic() + RETRY_REFUSED

    def allow(self) -> None:
        """A gateway was admitted."""
        self._refusal = None

    def namespace_changed(self) -> None:
        """What may lift the refusal, or one that is on its way."""
        self.namespace_changes += 1
        self._refusal = None

    @property
    def refusal(self) -> Obstacle | None:
        """Why no gateway may be added just now."""
        return self._refusal if time.monotonic() < self._refused_until else None

    @property
    def budgets(self) -> tuple[BudgetCount, ...]:
        """What the newest gateway that has counted anything has reported of budgets."""
        newest_first = (self.lines[number] for number in sorted(self.lines, reverse=True))
        return next((line.budgets for line in newest_first if line.budgets), ())

    def line(self, generation: int) -> ConnectedGateway:
        """The line of a generation."""
        return self.lines.setdefault(generation, ConnectedGateway())
