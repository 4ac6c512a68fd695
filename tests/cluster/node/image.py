"""A container image without a Docker engine: packs a directory as one layer, in the form that `ctr images import` takes.

image.py NAME OUT.tar ROOT [COMMAND...]
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def pack(name: str, out: Path, root: Path, command: list[str]) -> None:
    """Write the image `name` to `out`: the files of `root`, started as `command`. Same files, same image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer_tar:
        layer_tar.add(root, arcname=".", filter=_owned_by_root)
    layer = buffer.getvalue()
    digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": command, "Env": [_PATH]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]).encode()
    with tarfile.open(out, "w") as image:
        for entry, data in ((config_name, config), (f"{digest}.tar", layer), ("manifest.json", manifest)):
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            image.addfile(info, io.BytesIO(data))


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    return entry


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(f"usage: {(__doc__ or '').splitlines()[-1].strip()}")
    pack(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
