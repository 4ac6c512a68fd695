"""Says in the log who was refused at the gate: the first time, each source; how often, the counters say."""

from __future__ import annotations

import logging

from kube_gateway import _native

_log = logging.getLogger("supervisor")

_MOST_TOLD = 1000


class Refusals:
    """Which sources have been told of. Of more than a thousand no further ones are: anybody can make up addresses."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def tell(self, hooks: _native.Hooks) -> None:
        """Look who was refused since the last time."""
        try:
            refused = hooks.refused()
        except _native.NativeError as error:
            _log.error("%s", error.args[0])
            return
        for source, port, times in refused:
            if source in self._told or len(self._told) >= _MOST_TOLD:
                continue
            self._told.add(source)
            often = "" if times == 1 else f", {times} times"
            _log.warning("refused %s to port %d in clear%s (logged once for each source)", source, port, often)
            if len(self._told) == _MOST_TOLD:
                _log.warning("no further source that is refused is named here")
