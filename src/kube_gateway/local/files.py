"""Files of an instance, which a manager that was killed leaves whole."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: bytes | str, *, synced: bool = False) -> None:
    """Write a file that only root reads, whole or not at all; what is half written is never at `path`.

    `synced`: it is on the disk before it takes the place of what was there. Raises `OSError`.
    """
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
        if synced:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
