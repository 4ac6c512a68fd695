"""An end to a run that is always the same."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def end_in_order(*, within: float) -> None:
    """Let a signal, or the end of the time `within` which all has to be done, end the run by way of its clean-up."""
    endings = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)

    def end(number: int, _: FrameType | None) -> None:
        for each in endings:
            signal.signal(each, signal.SIG_IGN)
        why = f"not done after {within:.0f} s" if number == signal.SIGALRM else signal.Signals(number).name
        print(f"stopping: {why}", file=sys.stderr)
        sys.exit(128 + number)

    for each in endings:
        signal.signal(each, end)
    signal.setitimer(signal.ITIMER_REAL, within)
