"""One form of log line for both languages of the gateway: time (UTC), level, part, text."""

from __future__ import annotations

import logging
import sys
import time


class _Formatter(logging.Formatter):
    @staticmethod
    def converter(seconds: float | None = None) -> time.struct_time:
        return time.gmtime(seconds)

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")


def start_logging(*, debug: bool = False) -> None:
    """Log to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler], force=True)


def set_debug(*, debug: bool) -> None:
    """Change how much is logged."""
    logging.getLogger().setLevel(logging.DEBUG if debug else logging.INFO)
