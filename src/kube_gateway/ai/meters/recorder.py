"""All that is done with a call that has ended. What goes wrong here must never be an application's trouble."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kube_gateway.ai.meters.call import Call, Meters

_log = logging.getLogger("worker")


class Recorder:
    """Implements `Meters` by telling each of `meters`."""

    def __init__(self, meters: Sequence[Meters]) -> None:
        self._meters = tuple(meters)
        self._told: set[str] = set()

    def ended(self, call: Call) -> None:
        """Tell all of them; one that fails is logged, once for each reason, and keeps the others from nothing."""
        for meter in self._meters:
            try:
                meter.ended(call)
            except Exception as error:  # a log that cannot be written, or an exporter's own trouble
                reason = f"{type(meter).__name__}: {error}"
                if reason not in self._told:
                    self._told.add(reason)
                    _log.error("an LLM call was not recorded by %s (told once)", reason)
