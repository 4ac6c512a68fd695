"""The policies for LLM calls of this machine's pods: a file for each, as a cluster would have a ConfigMap.

People edit files with whatever they like, so nobody tells when one has changed: it is looked at several times a second, by
its time, size and place on the disk, and read when one of these is another.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from kube_gateway.control.observed import PolicyFound
from kube_gateway.control.policies import config_name, found_policy, no_policy, unusable
from kube_gateway.local.files import write_whole
from kube_gateway.local.instance import Instance
from kube_gateway.model.ai_report import LARGEST_POLICY
from kube_gateway.model.settings import Settings

LOOK_EVERY = 0.2
"""Seconds."""

_WRITTEN_WITHIN = 2.0
"""Seconds; as long as a file may be empty that held a policy, before it counts as one without rules."""

_Mark = tuple[int, int, int]


class PolicyFiles:
    """Reads them; `changed` tells whether one that was read is another by now, or was when it was read again."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._read: dict[Path, tuple[_Mark | None, PolicyFound]] = {}
        # Also who only shows the pods reads them, and would be the only one who knows.
        self._news = False

    def path(self, pod: str, settings: Settings) -> Path:
        """Where the policy of a pod is."""
        return self._instance.policies / (settings.ai_config or config_name(pod))

    def find(self, pod: str, settings: Settings) -> PolicyFound:
        """What is there now."""
        path = self.path(pod, settings)
        mark = _mark(path)
        known = self._read.get(path)
        if known is not None and _is_being_written(mark):
            return known[1]
        if known is None or known[0] != mark:
            self._news |= known is not None
            known = self._read[path] = (mark, _find(path))
        return known[1]

    def changed(self) -> bool:
        """Whether a file that was read has changed, come or gone since this was asked last."""
        news, self._news = self._news, False
        return news or any(_mark(path) != mark for path, (mark, _) in self._read.items())

    def write(self, pod: str, settings: Settings, text: str | None) -> None:
        """Put a policy there, whole or not at all; None removes what is there. Raises `OSError`."""
        path = self.path(pod, settings)
        self._news |= self._read.pop(path, None) is not None
        if text is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(path, text)

    def forget(self, pod: str) -> None:
        """The pod is gone, and its own file with it."""
        path = self.path(pod, Settings())
        self._read.pop(path, None)
        path.unlink(missing_ok=True)


def _mark(path: Path) -> _Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _is_being_written(mark: _Mark | None) -> bool:
    """Whoever writes a file anew in place has it empty first. For that long the last policy holds, not none at all."""
    return mark is not None and mark[1] == 0 and 0 <= time.time() - mark[0] / 1e9 < _WRITTEN_WITHIN


def _find(path: Path) -> PolicyFound:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_POLICY + 1)
        return found_policy(data.decode(), source=str(path))
    except FileNotFoundError:
        return no_policy(f"no file {path}")
    except UnicodeDecodeError:
        return unusable(f"the policy in {path} is no text in UTF-8", "write it anew")
    except OSError as error:
        return unusable(
            f"the policy in {path} cannot be read: {os.strerror(error.errno or 0)}", "see to its permissions"
        )
