"""An error for the person who builds the image."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class BuildError(Exception):
    """Something is missing or wrong; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def run(
    command: Sequence[str | Path],
    *,
    hint: str,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """What a command that reads `text` writes to stdout; an error with its last words if it fails."""
    try:
        done = subprocess.run(
            command, input=text, env=environment, cwd=cwd, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed", hint=hint) from error
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise BuildError(f"{Path(command[0]).name} failed with {done.returncode}: {' | '.join(words)}", hint=hint)
    return done.stdout
