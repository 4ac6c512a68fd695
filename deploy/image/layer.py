"""A directory as a layer: a tar archive in which nothing depends on when, where and by whom it was made.

All files are of one time, the same in every image: a layer that did not change from one version to the next has the same
digest, and a node that has it does not pull it again.
"""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

TIME = 315532800
"""1 January 1980, the first that every format of archive can tell, as in wheels."""

_GZIP = 31  # zlib's number for the format of gzip; it writes no name and no time into the header


@dataclass(frozen=True)
class Layer:
    """A packed directory. Images name a layer by the digest of `blob`, file systems by that of what it unpacks to."""

    name: str
    blob: bytes
    content_digest: str
    content_size: int

    @property
    def digest(self) -> str:
        """The digest of the compressed archive."""
        return digest(self.blob)


def digest(content: bytes) -> str:
    """A digest as registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def pack(tree: Path) -> Layer:
    """Pack a directory under its name: sorted, all owned by root, all of one time, without set-user-id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.rglob("*"), key=lambda path: path.relative_to(tree).parts):
            entry = _entry(path, path.relative_to(tree).as_posix())
            archive.addfile(entry, io.BytesIO(path.read_bytes()) if entry.isreg() else None)
    content = buffer.getvalue()
    compressor = zlib.compressobj(9, zlib.DEFLATED, _GZIP)
    return Layer(tree.name, compressor.compress(content) + compressor.flush(), digest(content), len(content))


def _entry(path: Path, name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mtime = TIME
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, str(path.readlink())
    elif stat.S_ISDIR(status.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if status.st_mode & stat.S_ISVTX else 0o755
    else:
        entry.mode, entry.size = 0o755 if status.st_mode & stat.S_IXUSR else 0o644, status.st_size
    return entry
